// WorkFolder: a folder for the files of one test, and for commands on them. Removed at the end.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace sluice::test {

class WorkFolder {
 public:
  WorkFolder();
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  // Runs a shell command in the folder, at most a minute. Its exit status.
  int run(const std::string& command) const;
  // What the last command has printed.
  std::string output() const;

  std::vector<std::byte> read(const std::string& name) const;
  const std::string& path() const { return path_; }

  // Blocks of zeroes become holes.
  void write(const std::string& name, const std::vector<std::byte>& bytes) const;

 private:
  std::string path_;
};

}  // namespace sluice::test
