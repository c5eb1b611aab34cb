#include "persistent/delta.hpp"

#include <gtest/gtest.h>

#include "model/volatile_blocks.hpp"
#include "persistent/exclusive.hpp"
#include "persistent/mapped_runs.hpp"
#include "persistent/transaction.hpp"
#include "unit/persistent/memory_blocks.hpp"

namespace sluice::persistent::test {
namespace {

using sluice::test::VolatileBlocks;

// Device 1 with 1000 blocks, a snapshot of it, 2, and then changes of device 1.
class ThinDelta : public testing::Test {
 protected:
  ThinDelta() {
    auto made = Transaction::create(disk_, {.metadata_blocks = 512, .data_blocks = 5000});
    pool_ = std::move(*made);
    EXPECT_TRUE(pool_->create_device(1));
    for (uint64_t block = 0; block < 1000; ++block) EXPECT_TRUE(pool_->provision(1, block));
    EXPECT_TRUE(pool_->create_snapshot(2, 1));
    for (const uint64_t block : {3UL, 4UL, 998UL, 1000UL, 1001UL})
      EXPECT_TRUE(pool_->provision(1, block));
    EXPECT_TRUE(pool_->unmap(1, 500));
    EXPECT_TRUE(pool_->commit(disk_));
  }

  std::vector<ThinDevice> devices() {
    auto found = read_devices(disk_, pool_->superblock());
    return found ? *found : std::vector<ThinDevice>(2);
  }

  VolatileBlocks disk_{VolatileBlocks::Bytes(512 * kBlockBytes)};
  std::unique_ptr<Transaction> pool_;
};

TEST_F(ThinDelta, EachKindOfDifferenceIsFound) {
  std::vector<DeltaRun> found;
  ASSERT_TRUE(for_each_difference(disk_, devices()[1].root, devices()[0].root,
                                  [&](const DeltaRun& run) { found.push_back(run); }));
  const std::vector<DeltaRun> wanted = {
      {Difference::same, 0, 3},      {Difference::changed, 3, 2},  {Difference::same, 5, 495},
      {Difference::removed, 500, 1}, {Difference::same, 501, 497}, {Difference::changed, 998, 1},
      {Difference::same, 999, 1},    {Difference::added, 1000, 2},
  };
  EXPECT_EQ(found, wanted);
}

// The leaves that were not changed are shared, with all that they map.
TEST_F(ThinDelta, WhatSharedNodesMapIsExclusiveToNobody) {
  const auto exclusive = count_exclusive(disk_, devices());
  ASSERT_TRUE(exclusive) << exclusive.error().text;
  EXPECT_EQ(*exclusive, (std::vector<uint64_t>{5, 4}));
  ASSERT_TRUE(pool_->remove_device(1));
  ASSERT_TRUE(pool_->commit(disk_));
  EXPECT_EQ(*count_exclusive(disk_, devices()), (std::vector<uint64_t>{1000}));
}

TEST_F(ThinDelta, RunsAreThoseOfAWholeWalk) {
  for (const ThinDevice& device : devices()) {
    MappedRuns runs(disk_, device.root);
    const auto take = [&](const MappedRun& run) {
      const auto next = runs.next();
      ASSERT_TRUE(next && *next);
      EXPECT_EQ((*next)->device_block, run.device_block);
      EXPECT_EQ((*next)->data_block, run.data_block);
      EXPECT_EQ((*next)->length, run.length);
      EXPECT_EQ((*next)->time, run.time);
    };
    ASSERT_TRUE(for_each_run(disk_, device.root, take));
    EXPECT_EQ(*runs.next(), std::nullopt);
  }
}

TEST_F(ThinDelta, DamageIsAnError) {
  MemoryBlocks damaged(disk_.newest());
  const uint64_t root = devices()[0].root;
  damaged.at(root)[100] ^= std::byte{1};
  EXPECT_EQ(count_exclusive(damaged, devices()).error().error, EILSEQ);
  EXPECT_EQ(MappedRuns(damaged, root).next().error().error, EILSEQ);
  damaged.unreadable = root;
  EXPECT_EQ(MappedRuns(damaged, root).next().error().error, EIO);
}

// A node that is its own child.
TEST_F(ThinDelta, ACircleEnds) {
  MemoryBlocks circle(disk_.newest());
  const uint64_t root = devices()[0].root;
  Node node(circle.at(root));
  ASSERT_FALSE(node.is_leaf());
  node.set_child(0, root);
  seal(BlockKind::node, root, circle.at(root));
  EXPECT_EQ(MappedRuns(circle, root).next().error().error, EILSEQ);
}

}  // namespace
}  // namespace sluice::persistent::test
