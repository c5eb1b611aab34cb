// StripeUser: a thread with a ring of its own that uses a target, in stripes between those of
// others, and checks what it reads. The stripes are no whole number of clusters or blocks of a
// format, so that several threads use the same ones.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "model/block_oracle.hpp"
#include "ring/kernel_ring.hpp"
#include "support/test_tag.hpp"
#include "target/life/life_call.hpp"
#include "target/target.hpp"

namespace sluice::test {

// A few requests at a time, each in a stripe.
class StripeUser {
 public:
  using Bytes = std::vector<std::byte>;
  static constexpr uint64_t kThreads = 3;

  StripeUser(Target& target, uint64_t size_bytes, uint64_t index)
      : target_(target), index_(index), random_(index), oracle_(size_bytes) {}

  // Makes the ring, which belongs to this thread.
  void run(int rounds) {
    auto made = KernelRing::create({});
    if (!made) throw std::runtime_error(made.error().text);
    ring_ = std::move(*made);
    for (int i = 0; i < rounds; ++i) {
      const uint64_t before = oracle_.time();
      std::vector<std::unique_ptr<Piece>> pieces;
      const uint64_t first = random_() % stripes();
      for (uint64_t each = 0; each < 4; ++each) {
        pieces.push_back(begin((first + each) % stripes()));
      }
      auto flushing = std::make_unique<Piece>(*ring_);
      if (i % 8 == 0) flushing->task.emplace(target_.submit(flushing->tag.make(Op::flush, 0, 0)));
      for (const auto& piece : pieces) end(*piece);
      if (!flushing->task) continue;
      wait(*flushing);
      oracle_.flushed(before);
    }
  }

  // Only the stripes of this thread count.
  std::string check(const Bytes& disk) const {
    for (uint64_t stripe = 0; stripe < stripes(); ++stripe) {
      const auto bytes = std::span(disk).subspan(place(stripe), kStripeBlocks * kBlock);
      if (std::string error = oracle_.check(place(stripe), bytes); !error.empty()) return error;
    }
    return {};
  }

 private:
  static constexpr uint64_t kBlock = BlockOracle::kBlock;
  static constexpr uint64_t kStripeBlocks = 20;

  struct Piece {
    explicit Piece(Ring& ring) : tag(ring) {}
    TestTag tag;
    Bytes memory;
    Op op = Op::flush;
    uint64_t offset = 0;
    uint64_t length = 0;
    std::optional<Task> task;
  };

  uint64_t stripes() const { return oracle_.size_bytes() / (kThreads * kStripeBlocks * kBlock); }
  uint64_t place(uint64_t stripe) const {
    return (stripe * kThreads + index_) * kStripeBlocks * kBlock;
  }

  std::unique_ptr<Piece> begin(uint64_t stripe) {
    auto piece = std::make_unique<Piece>(*ring_);
    constexpr Op kOps[] = {Op::read, Op::write, Op::write, Op::discard, Op::write_zeroes};
    piece->op = kOps[random_() % 5];
    const uint64_t first = random_() % kStripeBlocks;
    piece->offset = place(stripe) + first * kBlock;
    piece->length = (1 + random_() % (kStripeBlocks - first)) * kBlock;
    const bool data = piece->op == Op::read || piece->op == Op::write;
    if (data) piece->memory.resize(piece->length);
    if (piece->op != Op::read) {
      const uint64_t number = piece->op == Op::write ? oracle_.new_number() : 0;
      if (data) BlockOracle::fill(number, piece->offset, piece->memory);
      oracle_.begin(number, piece->offset, piece->length);
    }
    Request& request = data ? piece->tag.make(piece->op, piece->offset, std::span(piece->memory))
                            : piece->tag.make(piece->op, piece->offset, piece->length);
    request.may_unmap = random_() % 2 == 0;
    piece->task.emplace(target_.submit(request));
    return piece;
  }

  void end(Piece& piece) {
    wait(piece);
    if (piece.op == Op::read) EXPECT_EQ(oracle_.check(piece.offset, piece.memory), "");
    if (piece.op == Op::write || piece.op == Op::write_zeroes) {
      oracle_.end(piece.offset, piece.length, false);
    }
  }

  void wait(Piece& piece) {
    while (!piece.task->finished()) ring_->run_once(true);
    EXPECT_EQ(piece.task->status().error(), 0) << to_string(piece.op);
  }

  Target& target_;
  const uint64_t index_;
  std::mt19937_64 random_;
  BlockOracle oracle_;
  std::unique_ptr<KernelRing> ring_;
};

// A call that waits, on a ring of its own.
template <typename Start>
int perform_alone(Start start) {
  auto ring = KernelRing::create({});
  if (!ring) throw std::runtime_error(ring.error().text);
  LifeRequest life(**ring);
  Task task = start(life.request);
  while (!task.finished()) (*ring)->run_once(true);
  return task.status().error();
}

}  // namespace sluice::test
