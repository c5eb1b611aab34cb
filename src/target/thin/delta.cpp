// ThinTarget: where it differs from another volume, such as an older snapshot: for incremental
// backups by clients that ask for block status.
#include <algorithm>
#include <charconv>

#include "target/thin/thin_target.hpp"

namespace sluice::thin {
namespace {

constexpr std::string_view kDelta = "sluice:thin-delta:";
constexpr uint32_t kDiffers = 1;
constexpr uint64_t kBlocksAtOnce = 4096;

}  // namespace

std::vector<std::string> ThinTarget::contexts() const {
  std::vector<std::string> names;
  for (const uint64_t id : pool_->ids()) {
    if (id != volume_.id()) names.push_back(std::string(kDelta) + std::to_string(id));
  }
  return names;
}

Task ThinTarget::context_status(Request& request, const std::string& context, StatusRuns& found) {
  uint64_t other = 0;
  const char* const end = context.data() + context.size();
  const bool is_delta = context.starts_with(kDelta);
  const char* const begin = context.data() + (is_delta ? kDelta.size() : 0);
  const auto parsed = std::from_chars(begin, end, other);
  if (!is_delta || parsed.ec != std::errc() || parsed.ptr != end) {
    co_return Status::from_errno(ENOENT);
  }
  RangeLock::Hold hold(volume_.ranges(), *request.ring, request.offset, request.length,
                       RangeLock::Mode::shared);
  co_await hold;
  const uint64_t last = (request.offset + request.length - 1) / block_bytes_ + 1;
  bool added = true;
  while (added && !found.complete()) {
    const uint64_t offset = request.offset + found.covered_bytes();
    const uint64_t first = offset / block_bytes_;
    std::vector<bool> differs(std::min(last - first, kBlocksAtOnce));
    Task comparing = pool_->compare(request, volume_.id(), other, first, differs);
    const Status status = co_await comparing;
    if (!status.ok()) co_return status.error() == ENODEV ? Status::from_errno(ENOENT) : status;
    uint64_t skipped = offset % block_bytes_;
    for (size_t i = 0; i < differs.size() && added; ++i) {
      added = found.add(block_bytes_ - skipped, differs[i] ? kDiffers : 0);
      skipped = 0;
    }
  }
  co_return kOk;
}

}  // namespace sluice::thin
