#include "daemon/device_id.hpp"

#include <fmt/format.h>

#include <set>

#include "daemon/device_name.hpp"
#include "daemon/state.hpp"
#include "frontend/registry.hpp"

namespace sluice {
namespace {

// An unreadable record may belong to a living server.
Result<std::set<uint32_t>> used_ids() {
  const auto files = read_state_files();
  if (!files) return std::unexpected(files.error());
  std::set<uint32_t> used;
  for (const uint32_t id : numbers_in_kernel()) used.insert(id);
  for (const UnusableRecord& each : files->unusable) used.insert(each.id);
  for (const DeviceRecord& record : files->records) {
    if (!is_stale(record)) used.insert(record.id);
  }
  return used;
}

}  // namespace

Result<uint32_t> free_id(uint32_t wanted, uint32_t first) {
  const auto used = used_ids();
  if (!used) return std::unexpected(used.error());
  if (wanted != kAnyId) {
    if (!used->contains(wanted)) return wanted;
    const auto record = read_record(wanted);
    const FrontendType* const type = find_in_kernel(wanted);
    const std::string holder =
        record            ? described(*record)
        : type == nullptr ? fmt::format("device {}", wanted)
                          : fmt::format("device {} ({})", wanted, type->numbers->path(wanted));
    return fail(
        EEXIST,
        fmt::format("{} already exists: choose another -n, or delete it with 'sluice del -n {}'",
                    holder, wanted));
  }
  while (used->contains(first)) ++first;
  return first;
}

}  // namespace sluice
