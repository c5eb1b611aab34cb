// LoopDevice: a stack served as /dev/loopN: a loop device of the kernel on a file that FUSE serves.
//
// Owned by the control path. The file lies in a mount that is nowhere in the tree, so that nobody
// but the loop device has it. The device is attached so that the kernel detaches it when the last
// one who has it open is gone; the server is one of these for as long as it serves. The stack
// outlives the device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "frontend/frontend.hpp"
#include "frontend/fuse/export.hpp"
#include "target/stack.hpp"

namespace sluice::loop {

struct LoopOptions {
  fuse::ExportOptions file;  // `at` is not used
  bool direct_io = true;     // past the page cache of the file
};

// Whether this process can make loop devices on FUSE at all: ENODEV, EACCES, with advice.
Result<void> check_usable();

class LoopDevice final : public Frontend {
 public:
  // Mounts the file; nothing is attached yet.
  static Result<std::unique_ptr<LoopDevice>> make(Stack& stack, const LoopOptions& options);
  // Takes over what another process has handed over. EINVAL when the stack no longer fits.
  static Result<std::unique_ptr<LoopDevice>> adopt(Stack& stack, Handover handover);
  ~LoopDevice() override;

  // Attaches a free loop device, unless one was handed over. EBUSY: others took every free one
  // meanwhile.
  Result<void> serve() override;
  void wait() override { file_->wait(); }
  // Also while the device is in use: whoever has it open gets EIO.
  Result<void> stop() override;
  // EBUSY, and nothing has happened, while it is mounted or open.
  Result<void> stop_unless_busy() override;
  Result<void> remove() override { return file_->remove(); }
  Result<void> quiesce() override { return file_->quiesce(); }
  Result<Handover> let_go() override;
  Result<void> resize(uint64_t size_bytes) override;

  // Empty before serve().
  std::string path() const override { return path_; }
  std::string mode_name() const override { return file_->mode_name(); }
  std::string mode_reason() const override { return file_->mode_reason(); }
  std::vector<QueueReport> reports() const override { return file_->reports(); }
  Result<std::vector<InFlight>> in_flight() const override { return file_->in_flight(); }

 private:
  LoopDevice(Stack& stack, bool direct_io, std::unique_ptr<fuse::FuseExport> file)
      : stack_(stack), direct_io_(direct_io), file_(std::move(file)) {}
  Result<void> attach(int backing);
  Result<bool> attach_to(int number, int backing);
  Result<void> check_unused() const;

  Stack& stack_;
  const bool direct_io_;
  std::unique_ptr<fuse::FuseExport> file_;
  std::string path_;
  Descriptor device_;
};

}  // namespace sluice::loop
