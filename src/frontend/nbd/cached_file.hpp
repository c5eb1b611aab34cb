// CachedFile: the pages that the kernel's page cache has of the file which a disk consists of.
//
// They go to a pipe by reference, without a copy and without waiting for the disk. Other bytes are
// the disk's to read. Used by one thread; the disk outlives it.
#pragma once

#include <cstdint>
#include <memory>

#include "core/bare_file.hpp"
#include "core/descriptor.hpp"
#include "frontend/nbd/pipe_stock.hpp"
#include "target/disk.hpp"

namespace sluice::nbd {

class CachedFile {
 public:
  static constexpr uint32_t kRangeBytesMax = PipeStock::kPipeBytes;  // of one call

  // Null: the disk is more than one file, or that file is not read through the page cache, or this
  // process may not know what is in the cache. `loses_rights`: it may lose that right later.
  static std::unique_ptr<CachedFile> of(const Disk& disk, bool loses_rights = false);
  CachedFile(const CachedFile&) = delete;
  CachedFile& operator=(const CachedFile&) = delete;
  ~CachedFile();

  // True if all bytes of the range are in the page cache now. `offset`: of the disk, in bytes.
  bool has(uint64_t offset, uint32_t length);
  // Adds the range to a pipe, which must have room for it. False: that was not possible, and the
  // pipe may hold a part. Waits for the disk if a page has left the cache since has().
  bool add_to(int pipe, uint64_t offset, uint32_t length) const;

 private:
  CachedFile(BareFile file, bool loses_rights) : file_(file), loses_rights_(loses_rights) {}
  bool map(uint64_t bytes);
  void unmap();
  bool tells_the_truth() const;

  const BareFile file_;
  const bool loses_rights_;
  Descriptor reader_;        // the file again, without O_DIRECT
  void* address_ = nullptr;  // of all of it; only mincore() uses the mapping
  uint64_t mapped_bytes_ = 0;
};

}  // namespace sluice::nbd
