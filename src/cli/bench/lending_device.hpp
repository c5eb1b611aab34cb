// InProcess: a device without I/O in this process, as GET_BUF on /dev/null was: each of its
// requests is a page to be written, which it lends and wants back. And the ring that serves them,
// whose one file is /dev/null.
//
// Made, used and ended by the thread that measures.
#pragma once

#include <memory>
#include <vector>

#include "cli/bench/column.hpp"
#include "core/arena.hpp"
#include "core/buffer.hpp"
#include "core/descriptor.hpp"
#include "core/request.hpp"
#include "lend/provider.hpp"
#include "ring/kernel_ring.hpp"

namespace sluice::cli::bench {

class InProcess {
 public:
  static constexpr File kNull{.number = 0, .registered = true};

  // One request, of the tag of its place in the row.
  class Place final : private Lender {
   public:
    // It arrives: `data` is lent.
    void begin(std::span<std::byte> page) {
      back_ = false;
      request.data = loan_.lend_mapped(*this, Direction::source, page, kSlot);
    }
    // It has been served. The pages are back now, or when the last view is gone.
    void end() { request.data.drop(); }
    bool back() const { return back_; }

    Request request;

   private:
    friend class InProcess;
    void returned(Loan&) noexcept override { back_ = true; }

    Loan loan_;
    Arena arena_;
    bool back_ = true;
  };

  // Of so many places.
  static Result<std::unique_ptr<InProcess>> open(uint32_t places);

  Ring& ring() { return *ring_; }
  lend::Provider& provider() { return provider_; }
  uint32_t places() const { return places_; }
  Place& place(uint32_t tag) { return row_[tag]; }
  std::span<std::byte> page(uint32_t tag) const {
    return memory_.bytes().subspan(size_t{tag} * kIoBytes, kIoBytes);
  }
  Counts counts() const;

 private:
  static constexpr int kSlot = 0;  // of the ring's buffer table: all pages

  explicit InProcess(uint32_t places);

  const uint32_t places_;
  Buffer memory_;
  lend::Provider provider_;
  std::unique_ptr<Place[]> row_;
  Descriptor null_;
  std::unique_ptr<KernelRing> ring_;
};

}  // namespace sluice::cli::bench
