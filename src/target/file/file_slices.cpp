#include "target/file/file_slices.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "spec/shown.hpp"

namespace sluice {
namespace {

bool overlap(const FileSlices::Slice& one, const FileSlices::Slice& other) {
  return one.begin_bytes < other.end_bytes && other.begin_bytes < one.end_bytes;
}

std::string range_text(const FileSlices::Slice& slice) {
  if (slice.end_bytes != FileSlices::kToTheEnd) {
    return fmt::format("from byte {} to {}", slice.begin_bytes, slice.end_bytes);
  }
  if (slice.begin_bytes == 0) return "as a whole";
  return fmt::format("from byte {} to its end", slice.begin_bytes);
}

}  // namespace

// A partition is another file than its disk: its bytes are counted from elsewhere.
bool FileSlices::are_of(const FileId& id) const {
  if (id_.is_block_device() != id.is_block_device()) return false;
  if (id_.is_block_device()) return id_.number == id.number;
  return id_.device == id.device && id_.inode == id.inode;
}

bool FileSlices::claimed() const {
  const std::scoped_lock guard(mutex_);
  return claim_.valid() || std::ranges::any_of(slices_, &Slice::claims);
}

std::vector<HeldLock> FileSlices::locks() const {
  const std::scoped_lock guard(mutex_);
  std::vector<HeldLock> locks;
  for (const Slice& slice : slices_) {
    locks.push_back({.descriptor = slice.descriptor, .for_writing = slice.written});
  }
  return locks;
}

Result<void> FileSlices::add(const Slice& slice, std::string_view path) {
  const std::scoped_lock guard(mutex_);
  for (const Slice& other : slices_) {
    if (!slice.written && !other.written) continue;
    if (overlap(slice, other)) {
      return fail(EBUSY,
                  fmt::format("{} cannot be attached {}, as this stack also has it attached {}, and"
                              " one of the two is written: give slices (options offset and size)"
                              " that do not overlap, or make both read_only",
                              shown(path), range_text(slice), range_text(other)));
    }
    // A page that is written back would undo direct writes to the same page.
    if (slice.direct != other.direct) {
      return fail(EBUSY, fmt::format("one slice of {} goes through the page cache, and another one"
                                     " does not: give buffered_io to all slices of it",
                                     shown(path)));
    }
  }
  const auto claimant = std::ranges::find(slices_, true, &Slice::claims);
  if (slice.written && !claim_.valid() && claimant != slices_.end()) {
    claim_ = Descriptor(fcntl(claimant->descriptor, F_DUPFD_CLOEXEC, 0));
    if (!claim_.valid()) return fail(errno, "too many open files");
  }
  slices_.push_back(slice);
  return {};
}

void FileSlices::remove(int descriptor) {
  const std::scoped_lock guard(mutex_);
  std::erase_if(slices_, [&](const Slice& each) { return each.descriptor == descriptor; });
}

bool FileSlices::move_end(int descriptor, uint64_t end_bytes) {
  const std::scoped_lock guard(mutex_);
  const auto found = std::ranges::find(slices_, descriptor, &Slice::descriptor);
  if (found == slices_.end() || found->end_bytes == kToTheEnd) return true;
  Slice moved = *found;
  moved.end_bytes = end_bytes;
  const bool free = std::ranges::none_of(slices_, [&](const Slice& other) {
    return other.descriptor != descriptor && (moved.written || other.written) &&
           overlap(moved, other);
  });
  if (free) *found = moved;
  return free;
}

bool FileSlices::has_lost_claimant() const {
  const std::scoped_lock guard(mutex_);
  return claim_.valid() && std::ranges::none_of(slices_, &Slice::claims);
}

std::shared_ptr<FileSlices> StackFiles::find(const FileId& id) {
  std::erase_if(known_, [](const auto& each) { return each.expired(); });
  for (const auto& each : known_) {
    if (auto slices = each.lock(); slices != nullptr && slices->are_of(id)) return slices;
  }
  auto slices = std::make_shared<FileSlices>(id);
  known_.push_back(slices);
  return slices;
}

}  // namespace sluice
