#include "support/work_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>

namespace sluice::test {

// In memory, if possible: QEMU's programs flush a lot.
WorkFolder::WorkFolder() {
  const std::filesystem::path memory = "/dev/shm";
  std::error_code none;
  const bool has_memory = std::filesystem::is_directory(memory, none);
  path_ = (has_memory ? memory : std::filesystem::temp_directory_path()) / "sluice-qcow2-XXXXXX";
  if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no folder for the test");
}

WorkFolder::~WorkFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

int WorkFolder::run(const std::string& command) const {
  const std::string line =
      fmt::format("cd {} && {{ timeout 60 {}; }} < /dev/null > output 2>&1", path_, command);
  const int status = std::system(line.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string WorkFolder::output() const {
  std::ifstream file(path_ + "/output");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::byte> WorkFolder::read(const std::string& name) const {
  std::ifstream file(path_ + "/" + name, std::ios::binary);
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(path_ + "/" + name, error);
  std::vector<std::byte> bytes(error ? 0 : size);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

void WorkFolder::write(const std::string& name, const std::vector<std::byte>& bytes) const {
  constexpr size_t kPart = 4096;
  const int file = open((path_ + "/" + name).c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
  ASSERT_GE(file, 0);
  EXPECT_EQ(ftruncate(file, static_cast<off_t>(bytes.size())), 0);
  for (size_t begin = 0; begin < bytes.size(); begin += kPart) {
    const auto part = std::span(bytes).subspan(begin, std::min(kPart, bytes.size() - begin));
    if (std::ranges::all_of(part, [](std::byte byte) { return byte == std::byte{0}; })) continue;
    const ssize_t written = pwrite(file, part.data(), part.size(), static_cast<off_t>(begin));
    EXPECT_EQ(written, static_cast<ssize_t>(part.size()));
  }
  close(file);
}

}  // namespace sluice::test
