#include "daemon/same_backing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "spec/shown.hpp"

namespace sluice {

namespace {

// Null: not known, such as that of a target that was missing.
const Fingerprint* find_former(const DeviceRecord& record, const Fingerprint& file, size_t index) {
  const bool has_targets =
      std::ranges::none_of(record.files, &std::string::empty, &Fingerprint::target);
  if (!has_targets) return index < record.files.size() ? &record.files[index] : nullptr;
  const auto found = std::ranges::find(record.files, file.target, &Fingerprint::target);
  return found == record.files.end() ? nullptr : &*found;
}

}  // namespace

Result<void> check_same_files(const Stack& stack, const DeviceRecord& record) {
  const auto files = stack.fingerprints();
  if (!files) return std::unexpected(files.error());
  for (size_t i = 0; i < files->size(); ++i) {
    const Fingerprint& now = (*files)[i];
    const Fingerprint* const before = find_former(record, now, i);
    if (before == nullptr || now.is_same_as(*before)) continue;
    const std::string difference = now.is == before->is
                                       ? fmt::format("{}, made anew", now.is)
                                       : fmt::format("{}, not {}", now.is, before->is);
    return fail(
        ESTALE,
        fmt::format("{} is not the file or disk that device {} was served from ({}): put that "
                    "back, or serve the present one with 'sluice recover -n {} --other-file'",
                    shown(now.path), record.id, difference, record.id));
  }
  return {};
}

Result<void> check_fits(const Geometry& stack, const DeviceRecord& record) {
  if (stack.data_bytes() < record.size_bytes) {
    return fail(EINVAL, fmt::format("device {} has {} bytes but its backing now only {}: restore "
                                    "the backing to its size first",
                                    record.id, record.size_bytes, stack.data_bytes()));
  }
  if (record.block_bytes != 0 && stack.logical_block_bytes > record.block_bytes) {
    return fail(EINVAL, fmt::format("device {} has blocks of {} bytes but its backing now of {}: "
                                    "put it back where it was",
                                    record.id, record.block_bytes, stack.logical_block_bytes));
  }
  return {};
}

}  // namespace sluice
