// LoopDevice: a stack served as /dev/loopN: a loop device of the kernel on a file that FUSE serves.
//
// Owned by the control path. The file is in a mount outside the tree, so that only the loop device
// uses it. The device has autoclear: the kernel detaches it at its last close; the keeper has it
// open, the server does not. The stack outlives the device.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "frontend/frontend.hpp"
#include "frontend/fuse/export.hpp"
#include "target/stack.hpp"

namespace sluice::loop {

// Its value in the record, beside the file system of the file. It distinguishes the device from a
// later one of the same number.
inline constexpr std::string_view kSequence = "sequence";

struct LoopOptions {
  fuse::ExportOptions file;  // `place` is not used
  bool direct_io = true;     // bypasses the page cache of the file
};

// Checks that this process can make loop devices on FUSE: ENODEV, EACCES, with advice.
Result<void> check_usable();

class LoopDevice final : public Frontend {
 public:
  // Makes the file; serve() attaches the device.
  static Result<std::unique_ptr<LoopDevice>> make(Stack& stack, LoopOptions options);
  // See FuseExport::adopt().
  static Result<std::unique_ptr<LoopDevice>> adopt(Stack& stack, const std::string& state);
  ~LoopDevice() override;

  Result<void> prepare(FrontendListener& listener, Keeper& keeper) override;
  // Attaches a free loop device, unless one was handed over. EBUSY: others took every free one
  // meanwhile.
  Result<void> serve() override;
  bool has_ended() const override { return file_->has_ended(); }
  // If only the old keeper had the device open, the device ended with it, and is made again.
  Result<void> change_keeper(Keeper& keeper) override;

  // Users of the device get EIO.
  Result<void> stop(bool even_if_used) override;
  Result<void> remove() override { return file_->remove(); }

  Result<void> check_handover() const override { return file_->check_handover(); }
  std::string handover_state() override;
  Result<void> pause() override { return file_->pause(); }
  bool has_paused() const override { return file_->has_paused(); }
  Result<Handover> let_go() override;
  Result<void> resume() override { return file_->resume(); }
  void leave() override { file_->leave(); }
  Result<void> take(Handover handover) override;
  void settle() override { file_->settle(); }

  Result<void> resize(uint64_t size_bytes) override;

  NamedValues traces() const override;
  // Empty before serve().
  std::string path() const override { return path_; }
  std::string mode_name() const override { return file_->mode_name(); }
  std::string mode_reason() const override { return file_->mode_reason(); }
  std::vector<QueueReport> reports() const override { return file()->reports(); }
  Result<std::vector<InFlight>> in_flight() const override { return file()->in_flight(); }

 private:
  LoopDevice(Stack& stack, bool direct_io, std::unique_ptr<fuse::FuseExport> file)
      : stack_(stack), direct_io_(direct_io), file_(std::move(file)) {}
  std::shared_ptr<fuse::FuseExport> file() const;  // any thread
  Result<void> attach();
  Result<void> make_again();

  Stack& stack_;
  const bool direct_io_;
  mutable std::mutex mutex_;
  std::shared_ptr<fuse::FuseExport> file_;  // changed by the control thread, under mutex_
  FrontendListener* listener_ = nullptr;
  Keeper* keeper_ = nullptr;
  std::string path_;
  uint64_t sequence_ = 0;
  bool detached_ = false;  // or about to be: must not be made again
};

}  // namespace sluice::loop
