#include "cli/bench/in_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstring>

namespace sluice::cli::bench {

Result<std::unique_ptr<InProcess>> InProcess::open(uint32_t places) {
  std::unique_ptr<InProcess> device(new InProcess(places));
  device->null_ = Descriptor(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!device->null_.valid()) {
    return fail(errno, fmt::format("cannot open /dev/null: {}", std::strerror(errno)));
  }
  const int file = device->null_.number();
  auto ring = KernelRing::create({.entries = 4 * places, .slots = kSlot + 1, .files = {&file, 1}});
  if (!ring) return std::unexpected(ring.error());
  auto registered = (*ring)->register_memory(kSlot, device->memory_.bytes());
  if (!registered) return std::unexpected(registered.error());
  device->ring_ = std::move(*ring);
  for (uint32_t tag = 0; tag < places; ++tag) {
    Place& place = device->row_[tag];
    place.request = {.op = Op::write,
                     .length = kIoBytes,
                     .data = {},
                     .tag = static_cast<uint16_t>(tag),
                     .ring = device->ring_.get(),
                     .arena = &place.arena_,
                     .ready = &device->ring_->ready()};
  }
  return device;
}

InProcess::InProcess(uint32_t places)
    : places_(places),
      memory_(size_t{places} * kIoBytes),
      provider_(1, static_cast<uint16_t>(places)),
      row_(std::make_unique<Place[]>(places)) {}

Counts InProcess::counts() const {
  const RingCounters& counters = ring_->counters();
  return {.sqes = counters.submitted,
          .cqes = counters.completed,
          .enters = counters.enters,
          .copied_bytes = counters.copied_bytes};
}

}  // namespace sluice::cli::bench
