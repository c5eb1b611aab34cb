// StateDirectory: the directory of the state files, opened and checked once.
//
// Only this user and root may have written its files: a record names the process to signal and the
// mounts to remove. The directory has mode 0700 and its files 0600, whatever the umask: they name
// files in directories that others may not read, and only their owner controls a device.
//
// A value for the control path. Files are accessed relative to the open directory, without blocking
// on FIFOs or following links.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice {

class StateDirectory {
 public:
  // Opens state_directory(). ENOENT: it does not exist. EPERM: others could write to it.
  static Result<StateDirectory> open();
  // The same, but creates it if missing.
  static Result<StateDirectory> make();

  // Reads a whole file. ENOENT: it does not exist. EBADMSG: no server of Sluice has written it. The
  // text is only the reason: "it is a symbolic link".
  Result<std::string> read(const std::string& name, size_t bytes_max) const;
  // Opens a file for reading, with the errors of read().
  Result<Descriptor> open_to_read(const std::string& name) const;
  // Writes a new file and renames it over the old one, so that a reader sees either. On failure
  // nothing is left behind.
  Result<void> write(const std::string& name, std::string_view text) const;
  // The same in two steps: draft() writes the new file and returns its name;
  // publish() renames it.
  Result<std::string> draft(const std::string& name, std::string_view text) const;
  Result<void> publish(const std::string& draft, const std::string& name) const;
  // Opens a file for writing, and creates it if missing. EBADMSG: another kind of file has the
  // name.
  Result<Descriptor> open_file(const std::string& name) const;
  // Removes a file of any kind; a directory only if empty. True: nothing has the name now.
  bool remove(const std::string& name) const;

  std::vector<std::string> names() const;
  bool contains(const std::string& name) const;
  int descriptor() const { return directory_.number(); }
  const std::string& path() const { return path_; }

 private:
  StateDirectory(std::string path, Descriptor directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}

  std::string path_;
  Descriptor directory_;
};

}  // namespace sluice
