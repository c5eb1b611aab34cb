// FileTarget: a part of one open file, or block device, served as a target. Behind loop and mem.
//
// Immutable once made, but for what it learns about the file system; every queue's thread calls it.
// It never opens or closes the file: the stack owns the descriptor. Resizing a target makes a
// regular file larger where it is too small.
#pragma once

#include <atomic>
#include <string>

#include "core/file.hpp"
#include "target/error_log.hpp"
#include "target/target.hpp"

namespace sluice {

class FileTarget final : public Target {
 public:
  struct Place {
    std::string name;          // for the log
    std::string path = {};     // empty: it is in memory only
    File file;                 // its slot in the rings of its device ...
    int descriptor = -1;       // ... and the same file for other rings, and the control path
    uint64_t begin_bytes = 0;  // where in the file the target begins
    bool block_device = false;
    bool whole = false;  // to the end of the file, wherever that is
  };

  FileTarget(Place place, const Geometry& geometry);
  // Gives up the lock on the file, which otherwise lives until the last ring has let go of it.
  ~FileTarget() override;

  bool may_link() const override { return true; }
  Result<void> check_reopening() const override;
  const Place& place() const { return place_; }

 private:
  Task do_submit(Request& request) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;
  Result<uint64_t> extend(uint64_t file_bytes);
  Task read(Request& request);
  Task write(Request& request);
  Task flush(Request& request);
  Task discard(Request& request);
  Task discard_by_command(Request& request);
  Task punch_hole(Request& request);
  Task write_zeroes(Request& request);

  File file(const Request& request) const;
  Status judge(const Request& request, Status status);
  static bool is_unsupported(Status status);

  const Place place_;
  ErrorLog errors_;

  // What the file system or the driver turned out not to have. Set once, never cleared.
  std::atomic<bool> lacks_punch_hole_ = false;
  std::atomic<bool> lacks_zero_range_ = false;
  std::atomic<bool> lacks_discard_command_ = false;
};

}  // namespace sluice
