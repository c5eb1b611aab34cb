// Attachment: a loop device of the kernel on a file, held open, with autoclear: the kernel detaches
// it at its last close.
//
// Its calls wait for the server of that file: only the keeper may make them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice::loop {

struct AttachOptions {
  uint32_t block_bytes = 512;
  bool read_only = false;
  bool direct_io = true;  // bypasses the page cache of the file
  int number = -1;        // a required number; -1: any free one
};

class Attachment {
 public:
  // EBUSY: others took every free device meanwhile, or the required one.
  static Result<Attachment> make(int file, const AttachOptions& options);
  // Opens one that another process has open. ESTALE: another file has been attached since.
  static Result<Attachment> adopt(const std::string& path, uint64_t sequence);
  Attachment() = default;

  bool valid() const { return device_.valid(); }
  // EBUSY, with the user: another process uses it. Otherwise returns the processes that could not
  // be inspected: see core/holders.hpp.
  Result<std::vector<std::string>> check_unused() const;
  // Writes back the page cache of the device.
  Result<void> sync() const;
  // Adopts the current size of the file.
  Result<void> resize() const;

  const std::string& path() const { return path_; }
  // Distinguishes it from a later device of the same number; 0 before Linux 5.15.
  uint64_t sequence() const { return sequence_; }

 private:
  Result<bool> attach_to(int number, int file, const AttachOptions& options);

  Descriptor device_;
  std::string path_;
  uint64_t sequence_ = 0;
};

// The control device of the loop driver. ENODEV, EACCES: with advice.
Result<Descriptor> open_loop_control();

}  // namespace sluice::loop
