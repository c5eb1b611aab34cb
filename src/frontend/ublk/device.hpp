// UblkDevice: a stack served as /dev/ublkbN.
//
// Owned by the control path. Each queue has a reactor, a thread with a ring, from prepare() until
// the driver has taken every tag back. The keeper issues the driver's commands that block, on
// requests or on a lock that is held while another command waits for requests. The stack outlives
// the device.
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
#include "frontend/ublk/control.hpp"
#include "frontend/ublk/mode.hpp"
#include "reactor/reactors.hpp"
#include "ring/file_slot.hpp"
#include "target/stack.hpp"

namespace sluice::ublk {

using sluice::Recovery;

struct DeviceOptions {
  uint32_t id = kAnyId;
  uint16_t queues = 1;
  uint16_t depth = 128;
  uint32_t max_io_bytes = 512 * 1024;
  // Per queue; nullopt: the default of the mode.
  std::optional<uint32_t> reserve_bytes{};
  Recovery recovery = Recovery::none;
  ModeOptions mode_options;
};

class UblkDevice final : public Frontend {
 public:
  // Makes the device, with a selected mode and parameters from the stack's geometry; does not serve
  // yet. On failure it is removed again. EEXIST: the id is taken; ENOSPC or ENOMEM: no more
  // devices. If the kernel refuses a mode, here, in prepare() or in serve(), the next one is tried,
  // unless the user has named it.
  static Result<std::unique_ptr<UblkDevice>> add(Stack& stack, const DeviceOptions& options);
  // Adopts a device that has no server, or loses it before serve(). EINVAL: the stack no longer
  // fits the device.
  static Result<std::unique_ptr<UblkDevice>> adopt(Stack& stack, uint32_t id, BufferMode mode,
                                                   std::optional<uint32_t> reserve_bytes);
  // Ends the reactors; removes a device that was added and never went live.
  ~UblkDevice() override;

  Result<void> prepare(FrontendListener& listener, Keeper& keeper) override;
  // Makes the device live. EBUSY: it still has a server.
  Result<void> serve() override;
  // True when the driver has taken back every tag.
  bool has_ended() const override { return reactors_.all_ended(); }
  Result<void> change_keeper(Keeper& keeper) override;
  Result<void> stop(bool even_if_used) override;
  // Frees the id; if the block device is open, after its last close.
  Result<void> remove() override;

  // No request fails in a handover, except with Recovery::fail_io. The driver cannot be told to
  // resume: resume() recovers the device like another server, once the requests in flight have
  // ended.
  Result<void> check_handover() const override;
  Result<void> pause() override;
  bool has_paused() const override { return reactors_.all_ended(); }
  Result<Handover> let_go() override;
  Result<void> resume() override;
  void leave() override;
  Result<void> take(Handover) override { return {}; }

  Result<void> resize(uint64_t size_bytes) override;

  std::string path() const override;
  std::string mode_name() const override { return std::string(to_string(mode_.mode)); }
  std::string mode_reason() const override { return mode_.reason; }
  std::vector<QueueReport> reports() const override { return reactors_.reports(); }
  Result<std::vector<InFlight>> in_flight() const override { return reactors_.in_flight(); }

  uint32_t id() const { return info_.dev_id; }
  // /dev/ublkcN, for commands about its requests in other rings (UBLK_F_BUF_REG_OFF_DAEMON).
  int char_device() const { return char_device_.number(); }
  const abi::DeviceInfo& info() const { return info_; }
  const ModeChoice& mode() const { return mode_; }
  bool read_only() const { return stack_.geometry().read_only; }

 private:
  UblkDevice(Stack& stack, std::unique_ptr<Control> control);
  Result<void> create();
  Result<void> create_in_mode();
  bool give_up_mode(const Error& why);
  bool undo();
  Result<void> look_at(uint32_t id, BufferMode mode);
  Result<void> open_char_device();
  Result<Reactors::List> prepare_reactors();
  Reactor::Setup plan_reactor(uint16_t queue);
  Result<void> fill_reactors();
  Result<void> begin();
  void ask_for_stable_pages();
  Result<void> start_recovery();

  Stack& stack_;
  std::unique_ptr<Control> control_;
  DeviceOptions options_;  // of a device being added
  ModeRefusals refusals_;  // likewise
  abi::DeviceInfo info_{};
  ModeChoice mode_;
  bool recovering_ = false;
  bool added_ = false;  // by this process
  bool live_ = false;
  FrontendListener* listener_ = nullptr;
  Keeper* keeper_ = nullptr;
  Descriptor char_device_;
  const FileSlot char_slot_;  // in each reactor's ring
  Reactors reactors_;
  Reactors::List spare_;  // for resume(), since pause()
};

}  // namespace sluice::ublk
