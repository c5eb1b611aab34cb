// LendingDevice: a device without I/O, like GET_BUF on /dev/null: each request is a page to write,
// which the device lends and gets back. The pages are memory of this process, or those of requests
// of a ublk device. Includes the ring that serves them, whose first file is /dev/null.
//
// Made, used and destroyed by the measuring thread.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "bench/column.hpp"
#include "bench/held_requests.hpp"
#include "core/arena.hpp"
#include "core/buffer.hpp"
#include "core/descriptor.hpp"
#include "core/request.hpp"
#include "frontend/ublk/abi.hpp"
#include "lend/provider.hpp"
#include "ring/kernel_ring.hpp"

namespace sluice::bench {

class LendingDevice {
 public:
  static constexpr File kNull{.number = 0, .registered = true};
  static constexpr File kCharDevice{.number = 1, .registered = true};  // of ublk

  // One request; its tag is its index.
  class Place final : private Lender {
   public:
    // The request arrives: lends `data`.
    void begin() {
      back_ = false;
      if (memory_.empty()) {
        request.data =
            loan_.lend_registered(*this, Direction::source, kIoBytes, request.tag, kCharDevice,
                                  ublk::abi::io_buffer_position(request.queue, request.tag));
      } else {
        request.data = loan_.lend_mapped(*this, Direction::source, memory_, kAllMemory);
      }
    }
    // The request has been served. Its pages are returned now, or when the last view is dropped.
    void end() { request.data.drop(); }
    bool back() const { return back_; }

    Request request;

   private:
    friend class LendingDevice;
    void returned(Loan&) noexcept override { back_ = true; }

    std::span<std::byte> memory_;  // empty: the pages have no address here
    Loan loan_;
    Arena arena_;
    bool back_ = true;
  };

  // Opens a device of `places` requests, with their pages in the ring's buffer table: pages of ublk
  // in one slot each.
  static Result<std::unique_ptr<LendingDevice>> open(Pages pages, uint32_t places);
  // The same with pages of ublk, and a buffer table of as many empty slots.
  static Result<std::unique_ptr<LendingDevice>> open_unregistered(uint32_t places);
  ~LendingDevice();

  KernelRing& ring() { return *ring_; }
  lend::Provider& provider() { return provider_; }
  uint32_t places() const { return places_; }
  Place& place(uint32_t tag) { return row_[tag]; }
  Counts counts() const;

 private:
  static constexpr int kAllMemory = 0;  // slot of the ring's buffer table

  explicit LendingDevice(uint32_t places);
  Result<void> open_ring(uint32_t slots);
  Result<void> take_memory();
  Result<void> register_pages();

  const uint32_t places_;
  std::unique_ptr<HeldRequests> held_;
  std::optional<Buffer> memory_;
  lend::Provider provider_;
  std::unique_ptr<Place[]> row_;
  Descriptor null_;
  std::unique_ptr<KernelRing> ring_;
};

}  // namespace sluice::bench
