#include "frontend/loop/holders.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>

namespace sluice::loop {
namespace {

namespace fs = std::filesystem;

std::optional<pid_t> process_number(const std::string& name) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return pid;
}

bool has_open(const fs::path& process, dev_t device) {
  std::error_code error;
  const fs::directory_iterator files(process / "fd", error);
  return std::any_of(begin(files), end(files), [&](const fs::directory_entry& file) {
    struct stat open_file{};
    return stat(file.path().c_str(), &open_file) == 0 && S_ISBLK(open_file.st_mode) &&
           open_file.st_rdev == device;
  });
}

}  // namespace

std::optional<Holder> holder_of(dev_t device) {
  std::error_code error;
  for (const fs::directory_entry& process : fs::directory_iterator("/proc", error)) {
    const auto pid = process_number(process.path().filename());
    if (!pid || *pid == getpid() || !has_open(process.path(), device)) continue;
    Holder holder{.pid = *pid, .name = {}};
    std::ifstream(process.path() / "comm") >> holder.name;
    return holder;
  }
  return std::nullopt;
}

}  // namespace sluice::loop
