// Remap, a target on MetadataCache and Superblock, under random requests, checked against the
// oracle. The power is cut at random steps: the disk of that moment is opened again, its table must
// be sound, and its blocks must have the flushed contents or newer ones. SLUICE_TEST_SEED and
// SLUICE_TEST_ROUNDS work as in metadata_cache_test.cpp.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "model/block_oracle.hpp"
#include "model/in_flight.hpp"
#include "model/seeds.hpp"
#include "support/manual_ring.hpp"
#include "support/remap_target.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"

namespace sluice::test {
namespace {

using Bytes = std::vector<std::byte>;
using Left = VolatileDisk::Left;

// A few requests at a time, on different blocks.
class RemapRun {
 public:
  explicit RemapRun(uint64_t seed)
      : random_(seed),
        power_(random_()),
        blocks_(20 + random_() % 300),
        places_(blocks_ + random_() % 20),
        cached_(2 + static_cast<uint32_t>(random_() % 3)),
        oracle_(blocks_ * Remap::kBlockBytes) {
    auto disk = std::make_unique<VolatileDisk>(power_, Remap::child_bytes(blocks_, places_),
                                               random_() % 2 == 0);
    disk_ = disk.get();
    remap_ = std::make_unique<Remap>(std::move(disk), blocks_, cached_);
  }

  void run(int steps) {
    finish([&](Request& request) { return remap_->format(request); });
    power_.on_event = [&] {
      if (random_() % 40 == 0) cuts_.push_back({oracle_, disk_->after_cut(Left::any, random_)});
    };
    for (int i = 0; i < steps; ++i) {
      if (running_.size() < 5) start();
      ring_.settle();
      if (ring_.pending() != 0) ring_.perform(random_() % ring_.pending());
      collect();
    }
    while (ring_.pending() != 0) ring_.perform(random_() % ring_.pending());
    collect();
    EXPECT_TRUE(running_.empty()) << "a request waits for ever";
    power_.on_event = nullptr;
    EXPECT_EQ(oracle_.check(0, content(*remap_)), "");
    for (Cut& cut : cuts_) check(cut);
  }
  size_t cuts() const { return cuts_.size(); }

 private:
  struct Cut {
    BlockOracle oracle;
    Bytes disk;
  };
  struct Running {
    explicit Running(Ring& ring) : tag(ring) {}
    TestTag tag;
    Bytes memory;
    Op op = Op::read;
    uint64_t offset = 0;
    uint64_t length = 0;
    uint64_t begun_at = 0;
    std::optional<Task> task;
  };

  template <typename Start>
  void finish(Start start_task) {
    TestTag tag(ring_);
    Task task = start_task(tag.make(Op::flush, 0, uint64_t{0}));
    ring_.perform_all();
    ASSERT_TRUE(task.finished());
    EXPECT_EQ(task.status().error(), 0);
  }

  void start() {
    auto running = std::make_unique<Running>(ring_);
    const uint64_t dice = random_() % 100;
    running->op = dice < 30   ? Op::read
                  : dice < 75 ? Op::write
                  : dice < 93 ? Op::discard
                              : Op::flush;
    if (running->op != Op::flush) {
      const uint64_t first = random_() % blocks_;
      running->offset = first * Remap::kBlockBytes;
      running->length =
          (1 + random_() % std::min<uint64_t>(4, blocks_ - first)) * Remap::kBlockBytes;
      for (const auto& other : running_) {
        if (running->offset < other->offset + other->length &&
            other->offset < running->offset + running->length) {
          return;
        }
      }
    }
    running->begun_at = oracle_.time();
    const bool data = running->op == Op::read || running->op == Op::write;
    if (data) running->memory.resize(running->length);
    if (running->op == Op::write) {
      const uint64_t number = oracle_.new_number();
      BlockOracle::fill(number, running->offset, running->memory);
      oracle_.begin(number, running->offset, running->length);
    }
    if (running->op == Op::discard) oracle_.begin(0, running->offset, running->length);
    Request& request =
        data ? running->tag.make(running->op, running->offset, std::span(running->memory))
             : running->tag.make(running->op, running->offset, running->length);
    running->task.emplace(remap_->submit(request));
    running_.push_back(std::move(running));
  }

  void collect() {
    collect_ended(running_, [this](Running& ended) { end(ended); });
  }

  void end(Running& ended) {
    EXPECT_EQ(ended.task->status().error(), 0) << to_string(ended.op);
    ended.task.reset();
    if (ended.op == Op::read) EXPECT_EQ(oracle_.check(ended.offset, ended.memory), "");
    if (ended.op == Op::write) oracle_.end(ended.offset, ended.length, false);
    if (ended.op == Op::flush) oracle_.flushed(ended.begun_at);
  }

  Bytes content(Remap& remap) {
    Bytes bytes(blocks_ * Remap::kBlockBytes);
    TestTag tag(ring_);
    Task task = remap.submit(tag.make(Op::read, 0, std::span(bytes)));
    ring_.perform_all();
    EXPECT_TRUE(task.finished() && task.status().ok());
    return bytes;
  }

  void check(Cut& cut) {
    if (testing::Test::HasFailure()) return;
    auto disk = std::make_unique<VolatileDisk>(power_, cut.disk.size(), true);
    disk->load(cut.disk);
    Remap remap(std::move(disk), blocks_, cached_);
    TestTag tag(ring_);
    {
      Task task = remap.load(tag.make(Op::flush, 0, uint64_t{0}));
      ring_.perform_all();
      ASSERT_TRUE(task.finished());
      ASSERT_EQ(task.status().error(), 0) << remap.complaint();
    }
    EXPECT_EQ(cut.oracle.adopt(0, content(remap)), "");
  }

  std::mt19937_64 random_;
  Power power_;
  const uint64_t blocks_;
  const uint64_t places_;
  const uint32_t cached_;
  BlockOracle oracle_;
  ManualRing ring_;
  VolatileDisk* disk_ = nullptr;
  std::unique_ptr<Remap> remap_;
  std::vector<std::unique_ptr<Running>> running_;
  std::vector<Cut> cuts_;
};

TEST(RemapModel, PowerCuts) {
  const Seeds seeds = choose_seeds(10);
  size_t cuts = 0;
  for (uint64_t seed = seeds.first; seed < seeds.end() && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("SLUICE_TEST_SEED={}", seed));
    RemapRun run(seed);
    run.run(1500);
    cuts += run.cuts();
  }
  fmt::print("[   cuts   ] {}\n", cuts);
}

}  // namespace
}  // namespace sluice::test
