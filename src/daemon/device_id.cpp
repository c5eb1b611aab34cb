#include "daemon/device_id.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "daemon/state.hpp"
#include "frontend/ublk/control.hpp"

namespace sluice {
namespace {

std::set<uint32_t> used_ids() {
  std::set<uint32_t> used;
  for (const uint32_t id : ublk::Control::ids()) used.insert(id);
  for (const DeviceRecord& record : read_records()) {
    if (!is_stale(record)) used.insert(record.id);
  }
  return used;
}

}  // namespace

Result<StateLock> StateLock::take() {
  std::error_code error;
  std::filesystem::create_directories(state_directory(), error);
  const std::string path = state_directory();
  Descriptor directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid() || flock(directory.number(), LOCK_EX) != 0) {
    return fail(errno,
                fmt::format("cannot use the state directory {}: {}", path, std::strerror(errno)));
  }
  return StateLock(std::move(directory));
}

Result<uint32_t> free_id(uint32_t wish, uint32_t first) {
  const std::set<uint32_t> used = used_ids();
  if (wish != ublk::kAnyId) {
    if (!used.contains(wish)) return wish;
    return fail(EEXIST, fmt::format("device {0} exists already: choose another -n, or delete it "
                                    "with 'sluice del -n {0}'",
                                    wish));
  }
  while (used.contains(first)) ++first;
  return first;
}

}  // namespace sluice
