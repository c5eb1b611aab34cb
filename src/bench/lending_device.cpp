#include "bench/lending_device.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstring>

#include "frontend/ublk/io_command.hpp"

namespace sluice::bench {
namespace {

// Registers one page and records the result.
class Registration final : public Completion {
 public:
  explicit Registration(uint16_t tag) : tag_(tag) {}
  void prepare(io_uring_sqe& sqe) override {
    sqe = ublk::io_command_sqe(
        LendingDevice::kCharDevice, ublk::abi::kRegisterIoBuf,
        {.queue_id = HeldRequests::kQueue, .tag = tag_, .result = 0, .address = tag_});
  }
  void complete(int32_t result, uint32_t) override { result_ = result; }
  int32_t result() const { return result_; }

 private:
  const uint16_t tag_;
  int32_t result_ = 0;
};

}  // namespace

Result<std::unique_ptr<LendingDevice>> LendingDevice::open(Pages pages, uint32_t places) {
  if (pages == Pages::ublk) {
    auto device = open_unregistered(places);
    if (!device) return device;
    if (auto lent = (*device)->register_pages(); !lent) return std::unexpected(lent.error());
    return device;
  }
  std::unique_ptr<LendingDevice> device(new LendingDevice(places));
  if (auto opened = device->open_ring(kAllMemory + 1); !opened) {
    return std::unexpected(opened.error());
  }
  if (auto taken = device->take_memory(); !taken) return std::unexpected(taken.error());
  return device;
}

Result<std::unique_ptr<LendingDevice>> LendingDevice::open_unregistered(uint32_t places) {
  std::unique_ptr<LendingDevice> device(new LendingDevice(places));
  auto held = HeldRequests::open(static_cast<uint16_t>(places));
  if (!held) return std::unexpected(held.error());
  device->held_ = std::move(*held);
  if (auto opened = device->open_ring(places); !opened) return std::unexpected(opened.error());
  return device;
}

LendingDevice::LendingDevice(uint32_t places)
    : places_(places),
      provider_(1, static_cast<uint16_t>(places)),
      row_(std::make_unique<Place[]>(places)) {}

// Destroys the ring first: the requests end only once no ring has their pages.
LendingDevice::~LendingDevice() { ring_.reset(); }

Result<void> LendingDevice::open_ring(uint32_t slots) {
  null_ = Descriptor(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null_.valid()) {
    return fail(errno, fmt::format("cannot open /dev/null: {}", std::strerror(errno)));
  }
  std::vector<int> files{null_.number()};
  if (held_) files.push_back(held_->char_device());
  auto ring = KernelRing::create({.entries = 4 * places_, .slots = slots, .files = files});
  if (!ring) return std::unexpected(ring.error());
  ring_ = std::move(*ring);
  for (uint32_t tag = 0; tag < places_; ++tag) {
    Place& place = row_[tag];
    place.request = {.op = Op::write,
                     .length = kIoBytes,
                     .data = {},
                     .queue = HeldRequests::kQueue,
                     .tag = static_cast<uint16_t>(tag),
                     .ring = ring_.get(),
                     .arena = &place.arena_,
                     .ready = &ring_->ready()};
  }
  return {};
}

Result<void> LendingDevice::take_memory() {
  memory_.emplace(size_t{places_} * kIoBytes);
  for (uint32_t tag = 0; tag < places_; ++tag) {
    row_[tag].memory_ = memory_->bytes().subspan(size_t{tag} * kIoBytes, kIoBytes);
  }
  return ring_->register_memory(kAllMemory, memory_->bytes());
}

Result<void> LendingDevice::register_pages() {
  for (uint32_t tag = 0; tag < places_; ++tag) {
    Registration registering(static_cast<uint16_t>(tag));
    const uint32_t others = ring_->in_flight();
    ring_->submit(registering);
    while (ring_->in_flight() != others) ring_->run_once(true);
    if (registering.result() < 0) {
      return fail(-registering.result(),
                  fmt::format("the ublk driver does not register the pages of a request: {}",
                              std::strerror(-registering.result())));
    }
  }
  return {};
}

Counts LendingDevice::counts() const {
  const RingCounters& counters = ring_->counters();
  return {.sqes = counters.submitted,
          .cqes = counters.completed,
          .enters = counters.enters,
          .copied_bytes = counters.copied_bytes};
}

}  // namespace sluice::bench
