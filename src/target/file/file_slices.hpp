// FileSlices: the parts of one file or block device that the targets of one stack have open.
//
// Each part has an open file and a lock of its own, because the kernel reports a failed writeback
// once to each open file. The parts must not overlap if one of them is written. Only one open file
// can claim a block device (O_EXCL); its claim lasts as long as any part.
//
// Control path, and the control reactor when it destroys a target; guarded by a mutex.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "core/file_id.hpp"
#include "target/file/file_lock.hpp"

namespace sluice {

class FileSlices {
 public:
  static constexpr uint64_t kToTheEnd = std::numeric_limits<uint64_t>::max();

  struct Slice {
    int descriptor = -1;
    uint64_t begin_bytes = 0;
    uint64_t end_bytes = kToTheEnd;
    bool written = false;
    bool direct = false;  // opened with O_DIRECT
    bool claims = false;  // opened with O_EXCL
  };

  explicit FileSlices(const FileId& id) : id_(id) {}

  bool are_of(const FileId& id) const;
  bool claimed() const;
  // That of each slice.
  std::vector<HeldLock> locks() const;

  // EBUSY: it overlaps another one, or goes through the page cache when that does not; and one of
  // them is written. `path` is for messages.
  Result<void> add(const Slice& slice, std::string_view path);
  void remove(int descriptor);
  // Moves the end of a slice. False: another one begins before.
  bool move_end(int descriptor, uint64_t end_bytes);
  // The slice that has claimed the block device is gone: the files of the others do not pass the
  // claim to another server.
  bool has_lost_claimant() const;

 private:
  const FileId id_;
  mutable std::mutex mutex_;
  std::vector<Slice> slices_;
  Descriptor claim_;  // the claimant's file, once others rely on its claim
};

// The files of a stack that is being opened.
class StackFiles {
 public:
  // The same object as long as a target has it.
  std::shared_ptr<FileSlices> find(const FileId& id);

 private:
  std::vector<std::weak_ptr<FileSlices>> known_;
};

}  // namespace sluice
