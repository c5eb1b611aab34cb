// The handover of a ublk device between processes.
#include <fmt/format.h>

#include <chrono>

#include "core/retry.hpp"
#include "frontend/ublk/device.hpp"
#include "frontend/ublk/orders.hpp"

namespace sluice::ublk {

Result<void> UblkDevice::check_handover() const {
  if ((info_.flags & abi::kUserRecovery) == 0) {
    return fail(EOPNOTSUPP, fmt::format("it was added without recovery (-r 1): delete it with "
                                        "'sluice del -n {}' and add it again",
                                        info_.dev_id));
  }
  if ((info_.flags & abi::kQuiesce) == 0) {
    return fail(EOPNOTSUPP,
                fmt::format("it cannot be quiesced: that takes Linux 6.16, both now and "
                            "when the device was added; delete it with 'sluice del -n "
                            "{}' and add it again",
                            info_.dev_id));
  }
  return {};
}

// EBUSY is ignored: no tag was idle, but the driver quiesces nevertheless.
Result<void> UblkDevice::pause() {
  auto spare = prepare_reactors();
  if (!spare) return std::unexpected(spare.error());
  const auto quiesced = give_order(*keeper_, {.order = "quiesce", .id = info_.dev_id});
  if (!quiesced && quiesced.error().error != EBUSY) return quiesced;
  spare_ = std::move(*spare);
  for (const auto& reactor : reactors_.list()) reactor->pause();
  return {};
}

// The driver changes the state once the last ring has released the device.
Result<Handover> UblkDevice::let_go() {
  reactors_.clear();
  char_device_ = Descriptor();
  const Retry retry(Control::kTimeout);
  while (true) {
    const auto info = control_->info(info_.dev_id);
    if (!info) return std::unexpected(info.error());
    if (info->state != static_cast<uint16_t>(abi::DeviceState::live)) return Handover();
    if (!retry.again()) {
      return fail(ETIMEDOUT, fmt::format("the ublk driver did not take {} back within {} "
                                         "seconds: look at the kernel log (dmesg)",
                                         described(info_.dev_id), Control::kTimeout.count()));
    }
  }
}

Result<void> UblkDevice::resume() {
  if (!has_paused()) return fail(EBUSY, "requests are still in flight");
  if (char_device_.valid()) {
    if (const auto gone = let_go(); !gone) return std::unexpected(gone.error());
  }
  recovering_ = true;
  reactors_.set(std::move(spare_));
  spare_.clear();
  return serve();
}

void UblkDevice::leave() {
  spare_.clear();
  live_ = true;  // in the other server: the destructor must not remove the device
}

}  // namespace sluice::ublk
