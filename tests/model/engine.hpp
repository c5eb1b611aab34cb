// Engine: executes the I/O of a model run: a ManualRing that completes in random order and in
// random pieces, or the kernel.
//
// Owned and used by one thread, the run's.
#pragma once

#include <memory>
#include <random>
#include <span>

#include "ring/kernel_ring.hpp"
#include "support/manual_ring.hpp"

namespace sluice::test {

class Engine {
 public:
  virtual ~Engine() = default;
  virtual Ring& ring() = 0;
  // Makes progress. Only called while a request is in flight.
  virtual void advance() = 0;
  // Sets slot `slot` of the buffer table to `memory`. False if the engine has no such table.
  virtual bool lend(int slot, std::span<std::byte> memory) = 0;
};

class ManualEngine final : public Engine {
 public:
  // Short transfers are multiples of `unit_bytes`.
  ManualEngine(std::span<const int> files, uint64_t seed, uint32_t unit_bytes)
      : random_(seed), unit_(unit_bytes) {
    for (size_t i = 0; i < files.size(); ++i) ring_.set_file(static_cast<int>(i), files[i]);
  }

  Ring& ring() override { return ring_; }
  bool lend(int slot, std::span<std::byte> memory) override {
    ring_.set_buffer(slot, memory);
    return true;
  }
  void advance() override {
    ring_.settle();
    if (ring_.pending() == 0) return;
    const size_t index = random_() % ring_.pending();
    const uint64_t dice = random_() % 100;
    if (dice < 3) {
      ring_.complete(index, -EINTR);
    } else if (dice < 30) {
      ring_.perform(index, static_cast<uint32_t>(random_() % (65536 / unit_) + 1) * unit_);
    } else {
      ring_.perform(index);
    }
  }

 private:
  ManualRing ring_;
  std::mt19937_64 random_;
  const uint32_t unit_;
};

class KernelEngine final : public Engine {
 public:
  explicit KernelEngine(std::span<const int> files) {
    auto made = KernelRing::create({.files = files});
    if (!made) throw std::runtime_error(made.error().text);
    ring_ = std::move(*made);
  }

  Ring& ring() override { return *ring_; }
  bool lend(int, std::span<std::byte>) override { return false; }
  void advance() override { ring_->run_once(true); }

 private:
  std::unique_ptr<KernelRing> ring_;
};

}  // namespace sluice::test
