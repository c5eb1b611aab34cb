// FileTarget: serves a part of one open file or block device. Used by loop and mem.
//
// Immutable once made, except for detected features of the file system; every queue's thread calls
// it. It never opens or closes the file: the stack owns the descriptor. Resizing extends a regular
// file that is too small.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "core/file.hpp"
#include "target/error_log.hpp"
#include "target/file/file_slices.hpp"
#include "target/target.hpp"

namespace sluice {

class FileTarget final : public Target {
 public:
  struct Place {
    std::string name;          // for the log
    std::string path = {};     // empty: an anonymous file
    File file;                 // slot of the file in the rings of its device
    int descriptor = -1;       // the same file, for other rings and the control path
    uint64_t begin_bytes = 0;  // offset of the target in the file
    bool block_device = false;
    bool whole = false;        // up to the end of the file, also after growth
    uint32_t grain_bytes = 0;  // not 0: of the file's end, which need not be that of a block
    bool inherited = false;    // another process also has the file open, and its lock
    std::string swap_risk = {};
    // Of the same file in its stack, this target's among them; null: nothing else can be.
    std::shared_ptr<FileSlices> slices = nullptr;
  };

  FileTarget(Place place, const Geometry& geometry);
  // Unlocks the file; the lock would otherwise last until the last ring has released the file.
  ~FileTarget() override;

  bool may_link() const override { return true; }
  std::string swap_risk() const override { return place_.swap_risk; }
  void own_files(bool ours) override { owns_lock_ = ours; }
  Result<void> check_handover() const override;
  Result<void> check_recovery() const override;
  Result<std::optional<Fingerprint>> fingerprint() const override;
  std::optional<BareFile> bare_file() const override;

 private:
  Task do_submit(Request& request) override;
  Task do_extents(Request& request, Extents& found) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;
  Result<uint64_t> available_bytes() const;
  Result<uint64_t> follow(uint64_t available_bytes);
  Result<uint64_t> extend(uint64_t file_bytes);
  bool move_end(uint64_t size_bytes) const;
  Task read(Request& request);
  Task write(Request& request);
  Task flush(Request& request);
  Task discard(Request& request);
  Task discard_by_command(Request& request);
  Task punch_hole(Request& request);
  Task write_zeroes(Request& request);
  Task prefetch(Request& request);

  Status find_extents(uint64_t begin, Extents& found) const;
  File file(const Request& request) const;
  Status judge(const Request& request, Status status);
  static bool is_unsupported(Status status);

  const Place place_;
  ErrorLog errors_;
  bool owns_lock_;

  // Features that the file system or the driver turned out to lack. Set once, never cleared.
  std::atomic<bool> lacks_punch_hole_ = false;
  std::atomic<bool> lacks_zero_range_ = false;
  std::atomic<bool> lacks_discard_command_ = false;
};

}  // namespace sluice
