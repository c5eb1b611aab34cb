// The qcow2 target, used by several threads with rings of their own, in the same clusters.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <thread>

#include "model/qcow2_image.hpp"
#include "ring/kernel_ring.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"
#include "target/life/life_call.hpp"
#include "target/qcow2/qcow2_target.hpp"

namespace sluice::test {
namespace {

using Qcow2Bytes = std::vector<std::byte>;

constexpr uint64_t kThreads = 3;
constexpr uint64_t kStripeBlocks = 20;  // of one thread: no whole number of clusters

// Calls that wait, on a ring of the thread. A few requests at a time, each in a stripe.
class StripeUser {
 public:
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
  std::string check(const Qcow2Bytes& disk) const {
    for (uint64_t stripe = 0; stripe < stripes(); ++stripe) {
      const auto bytes = std::span(disk).subspan(place(stripe), kStripeBlocks * kBlock);
      if (std::string error = oracle_.check(place(stripe), bytes); !error.empty()) return error;
    }
    return {};
  }

 private:
  static constexpr uint64_t kBlock = BlockOracle::kBlock;

  struct Piece {
    explicit Piece(Ring& ring) : tag(ring) {}
    TestTag tag;
    Qcow2Bytes memory;
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

template <typename Start>
int perform_alone(Start start) {
  auto ring = KernelRing::create({});
  if (!ring) throw std::runtime_error(ring.error().text);
  LifeRequest life(**ring);
  Task task = start(life.request);
  while (!task.finished()) (*ring)->run_once(true);
  return task.status().error();
}

TEST(Qcow2Model, SeveralThreads) {
  if (std::system("command -v qemu-img >/dev/null") != 0) {
    GTEST_SKIP() << "needs qemu-img (package qemu-utils)";
  }
  for (const std::string options :
       {"cluster_size=4k", "cluster_size=512", "cluster_size=16k,extended_l2=on", "compat=0.10"}) {
    SCOPED_TRACE(options);
    const WorkFolder folder;
    const Qcow2Image image{.options = options, .size_bytes = 4 << 20};
    ASSERT_EQ(folder.run("qemu-img create -q -f qcow2 -o " + options + " image.qcow2 4M"), 0);
    Qcow2Bytes bytes = folder.read("image.qcow2");
    bytes.resize((bytes.size() + 511) / 512 * 512);
    Power power(1);
    auto disk = std::make_unique<VolatileDisk>(power, bytes.size(), false);
    VolatileDisk* const storage = disk.get();
    storage->offer_discard();
    storage->load(bytes);
    qcow2::Qcow2Target target({.name = "image", .writable = true},
                              *qcow2::parse_header(bytes, bytes.size()),
                              {.storage = std::move(disk), .data = nullptr, .backing = nullptr});
    LifeCall call;
    ASSERT_EQ(perform_alone([&](Request& request) { return target.start(request, call); }), 0);
    std::vector<std::unique_ptr<StripeUser>> users;
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < kThreads; ++i) {
      users.push_back(std::make_unique<StripeUser>(target, image.size_bytes, i));
      threads.emplace_back([&user = *users.back()] { user.run(300); });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(perform_alone([&](Request& request) { return target.stop(request, call); }), 0);
    std::mt19937_64 random;
    folder.write("stopped.qcow2", storage->after_cut(VolatileDisk::Left::newest, random));
    const Qcow2Bytes found = examine_image(folder, "stopped.qcow2", image, false);
    ASSERT_EQ(found.size(), image.size_bytes);
    for (const auto& user : users) EXPECT_EQ(user->check(found), "");
  }
}

}  // namespace
}  // namespace sluice::test
