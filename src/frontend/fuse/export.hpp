// FuseExport: a stack served as a plain file, through the kernel's FUSE.
//
// Owned by the control path. Each of its queues has a reactor, a thread with a ring, from serve()
// until the file system is unmounted or stop() was called. The stack outlives the export.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "frontend/frontend.hpp"
#include "frontend/fuse/data_path.hpp"
#include "frontend/fuse/file_io.hpp"
#include "frontend/fuse/handshake.hpp"
#include "frontend/fuse/mount_point.hpp"
#include "frontend/fuse/one_file.hpp"
#include "frontend/fuse/uring_pools.hpp"
#include "target/stack.hpp"

namespace sluice::fuse {

class Reactor;

inline constexpr uint32_t kMaxIoBytes = 1U << 20;  // fs.fuse.max_pages_limit, as it comes

struct ExportOptions {
  std::string at;
  uint16_t queues = 1;
  uint16_t depth = 64;
  uint32_t max_io_bytes = 1U << 20;  // a multiple of 4096, at most 1 MiB
  std::optional<DataPath> path;
  bool allow_other = false;  // let other users have it, as the mode of the file says
};

class FuseExport final : public Frontend {
 public:
  // Mounts; the file answers after serve(). If anything fails nothing stays behind.
  static Result<std::unique_ptr<FuseExport>> mount(Stack& stack, const ExportOptions& options);
  // The file is nowhere in the tree; open_detached() opens it. options.at is not used.
  static Result<std::unique_ptr<FuseExport>> mount_detached(Stack& stack,
                                                            const ExportOptions& options);
  // Takes over a mount that another process has handed over. EINVAL when the stack no longer fits.
  static Result<std::unique_ptr<FuseExport>> adopt(Stack& stack, Handover handover);
  // Ends the reactors, and unmounts what never was served.
  ~FuseExport() override;

  Result<void> serve() override;
  void wait() override;
  // Also while the file is in use: whoever has it open gets ENOTCONN.
  Result<void> stop() override;
  // EBUSY, and nothing has happened, while the file is in use.
  Result<void> stop_unless_busy() override;
  Result<void> remove() override;
  // What the stack has, at the most.
  Result<void> resize(uint64_t size_bytes) override;

  // Of a detached mount, after serve().
  Result<Descriptor> open_detached(int flags) const { return mount_.open_detached(flags); }

  // Takes no more requests and answers those in flight; new ones wait for the next server.
  // EOPNOTSUPP on the data paths over io_uring.
  Result<void> quiesce() override;
  Result<Handover> let_go() override;

  std::string path() const override { return mount_.file_path(); }
  std::string mode_name() const override { return std::string(to_string(choice_.path)); }
  std::string mode_reason() const override { return choice_.reason; }
  std::vector<QueueReport> reports() const override;
  Result<std::vector<InFlight>> in_flight() const override;

 private:
  FuseExport(Stack& stack, const ExportOptions& options, MountPoint mount);
  static Result<std::unique_ptr<FuseExport>> finish(Stack& stack, const ExportOptions& options,
                                                    Result<MountPoint> mounted);
  Result<void> agree();
  Result<void> set_up_passthrough();
  Result<void> set_up_zero_copy();
  Result<void> start_reactors();
  Result<Descriptor> clone_device() const;
  void stop_reactors();

  Stack& stack_;
  const ExportOptions options_;
  MountPoint mount_;
  OneFile file_;
  FileIo io_;
  PathChoice choice_;
  int32_t backing_id_ = 0;
  Descriptor backing_;  // passthrough: without O_DIRECT
  UringPools pools_;    // uring_zc
  bool served_ = false;
  bool handed_over_ = false;
  std::vector<Descriptor> clones_;
  std::vector<std::unique_ptr<Reactor>> reactors_;
};

}  // namespace sluice::fuse
