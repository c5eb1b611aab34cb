// FuseExport: a stack served as a plain file, through the kernel's FUSE.
//
// Owned by the control path. Each of its queues has a reactor, a thread with a ring, from prepare()
// until the file system is unmounted or stop() is called. It holds no descriptor of the file or of
// the mount: the keeper makes all calls that could block on them. The stack outlives the export.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "frontend/frontend.hpp"
#include "frontend/frontend_options.hpp"
#include "frontend/fuse/connection.hpp"
#include "frontend/fuse/data_path.hpp"
#include "frontend/fuse/file_io.hpp"
#include "frontend/fuse/handshake.hpp"
#include "frontend/fuse/mount_point.hpp"
#include "frontend/fuse/one_file.hpp"
#include "frontend/fuse/uring_pools.hpp"
#include "reactor/reactors.hpp"
#include "ring/file_slot.hpp"
#include "target/stack.hpp"

namespace sluice::fuse {

inline constexpr uint32_t kMaxIoBytes = 1U << 20;  // the default of fs.fuse.max_pages_limit

struct ExportOptions {
  std::optional<Place> place;
  uint16_t queues = 1;
  uint16_t depth = 64;
  uint32_t max_io_bytes = 1U << 20;  // a multiple of 4096, at most 1 MiB
  // Per queue; nullopt: the default of the data path.
  std::optional<uint32_t> reserve_bytes{};
  std::optional<DataPath> path;
  bool allow_other = false;     // let other users access the file, by its mode
  bool loop_direct_io = false;  // a loop device will use it with direct I/O
};

// Converts the options that all front ends have, and the data path.
ExportOptions export_options(const FrontendOptions& options);

class FuseExport final : public Frontend {
 public:
  // Makes the file system, named by file_system(); serve() mounts it. On failure nothing is left
  // behind.
  static Result<std::unique_ptr<FuseExport>> make(Stack& stack, ExportOptions options);
  // The same for a file outside the tree: take_mount() returns the mount. Ignores options.place.
  static Result<std::unique_ptr<FuseExport>> make_detached(Stack& stack, ExportOptions options);
  // Adopts the file system of another process, which serves it until take(). `state` is its
  // handover_state(). EINVAL: the stack no longer fits.
  static Result<std::unique_ptr<FuseExport>> adopt(Stack& stack, const std::string& state);
  // Ends the reactors, and unmounts a file system that was never served.
  ~FuseExport() override;

  Result<void> prepare(FrontendListener& listener, Keeper& keeper) override;
  Result<void> serve() override;
  bool has_ended() const override { return reactors_.all_ended(); }
  Result<void> change_keeper(Keeper& keeper) override;
  // Users of the file get ENOTCONN.
  Result<void> stop(bool even_if_used) override;
  Result<void> remove() override;

  // EOPNOTSUPP on the data paths over io_uring.
  Result<void> check_handover() const override;
  std::string handover_state() override;
  Result<void> pause() override;
  bool has_paused() const override { return reactors_.all_paused(); }
  Result<Handover> let_go() override;
  Result<void> resume() override;
  void leave() override { handed_over_ = true; }
  Result<void> take(Handover handover) override;
  void settle() override;

  // `size_bytes` is at most the stack's size.
  Result<void> resize(uint64_t size_bytes) override;

  // Of a detached file, once: for the keeper. No other process may open it.
  Descriptor take_mount() { return mount_.take_mount(); }
  // MAJOR:MINOR of the file system.
  const std::string& file_system() const { return mount_.file_system(); }
  const MountPoint& mount() const { return mount_; }
  const ExportOptions& options() const { return options_; }
  // Grows while requests are answered.
  uint64_t progress() const;
  // Aborts the connection at once, even if processes hang.
  void abort() const { connection_.abort(); }

  NamedValues traces() const override;
  std::string path() const override { return mount_.file_path(); }
  std::string mode_name() const override { return std::string(to_string(choice_.path)); }
  std::string mode_reason() const override { return choice_.reason; }
  std::vector<QueueReport> reports() const override { return reactors_.reports(); }
  Result<std::vector<InFlight>> in_flight() const override { return reactors_.in_flight(); }

 private:
  FuseExport(Stack& stack, ExportOptions options, MountPoint mount);
  static Result<std::unique_ptr<FuseExport>> finish(Stack& stack, ExportOptions options,
                                                    Result<MountPoint> mounted);
  Result<void> agree();
  void gather_facts(const KernelOffer& offer, Agreement& agreement);
  Result<void> set_up_passthrough();
  Result<void> set_up_zero_copy();
  bool leave_uring(const Error& why);
  Result<void> prepare_reactors();
  Reactor::Setup plan_reactor(uint16_t number, uint16_t threads);
  Result<void> begin();
  Result<void> appear();
  Result<void> watch(bool armed);
  Result<void> unmount(bool lazily);
  void stop_reactors();

  Stack& stack_;
  const ExportOptions options_;
  MountPoint mount_;
  OneFile file_;
  FileIo io_;
  PathFacts facts_;
  PathChoice choice_;
  int32_t backing_id_ = 0;
  Descriptor backing_;  // passthrough: without O_DIRECT
  UringPools pools_;    // uring_zc
  FrontendListener* listener_ = nullptr;
  Keeper* keeper_ = nullptr;
  Connection connection_;
  bool served_ = false;
  bool handed_over_ = false;
  std::vector<Descriptor> clones_;
  const FileSlot device_slot_;  // of /dev/fuse
  Reactors reactors_;
};

}  // namespace sluice::fuse
