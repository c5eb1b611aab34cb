// A pool on disks in memory, where the test decides in which order things end.
#include "target/thin/pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "model/volatile_blocks.hpp"
#include "persistent/check.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"
#include "target/thin/thin_target.hpp"

namespace sluice::thin::test {
namespace {

using sluice::test::ManualRing;
using sluice::test::Power;
using sluice::test::TestTag;
using sluice::test::VolatileBlocks;
using sluice::test::VolatileDisk;

constexpr uint64_t kUnit = 64 << 10;  // a block of the pool
constexpr uint64_t kMetadataBytes = 256 * persistent::kBlockBytes;

class ManualPool : public testing::Test {
 protected:
  using Bytes = std::vector<std::byte>;

  struct Submitted {
    explicit Submitted(Ring& ring) : tag(ring) {}
    TestTag tag;
    Bytes memory;
    std::optional<Task> task;
    bool finished() const { return task->finished(); }
    int error() const { return task->status().error(); }
  };

  void make(uint64_t data_blocks = 16) {
    VolatileBlocks device{VolatileBlocks::Bytes(kMetadataBytes)};
    auto made = persistent::Transaction::create(
        device, {.metadata_blocks = device.blocks(), .data_blocks = data_blocks});
    ASSERT_TRUE(made) << made.error().text;
    ASSERT_TRUE((*made)->create_device(1));
    ASSERT_TRUE((*made)->commit(device));
    serve(device.newest(), Bytes(data_blocks * kUnit, std::byte{0xAB}));
  }
  void serve(const Bytes& metadata_bytes, const Bytes& data_bytes) {
    auto metadata_disk = std::make_unique<VolatileDisk>(power, metadata_bytes.size(), true);
    auto data_disk = std::make_unique<VolatileDisk>(power, data_bytes.size(), true);
    metadata_disk->load(metadata_bytes);
    data_disk->offer_discard();
    data_disk->load(data_bytes);
    metadata = metadata_disk.get();
    data = data_disk.get();
    Target::Children devices;
    devices.push_back(std::move(metadata_disk));
    devices.push_back(std::move(data_disk));
    pool = std::make_shared<Pool>(options, *metadata, *data);
    volume = std::make_unique<ThinTarget>(std::move(devices), pool,
                                          ThinTarget::Shape{.id = 1, .size_bytes = size_bytes});
    LifeCall call;
    ASSERT_EQ(perform([&](Request& request) { return volume->start(request, call); }), 0)
        << call.why;
  }
  // What another server finds when this one was killed.
  void kill_and_serve() {
    std::mt19937_64 random;
    const Bytes metadata_bytes = metadata->after_cut(VolatileDisk::Left::newest, random);
    const Bytes data_bytes = data->after_cut(VolatileDisk::Left::newest, random);
    ring.perform_all();
    stop();
    serve(metadata_bytes, data_bytes);
  }
  void stop() {
    if (volume == nullptr) return;
    LifeCall call;
    perform([&](Request& request) { return volume->stop(request, call); });
    volume.reset();
    pool.reset();
  }
  void TearDown() override { stop(); }

  template <typename Call>
  int perform(Call call) {
    LifeRequest life(ring);
    Task task = call(life.request);
    ring.settle();
    while (!task.finished() && ring.pending() != 0) ring.perform(0);
    EXPECT_TRUE(task.finished());
    return task.status().error();
  }
  std::unique_ptr<Submitted> submit(Op op, uint64_t offset, uint64_t length, int value = 0) {
    auto made = std::make_unique<Submitted>(ring);
    const bool has_data = op == Op::read || op == Op::write;
    if (has_data) made->memory.assign(length, std::byte(value));
    Request& request = has_data ? made->tag.make(op, offset, std::span(made->memory))
                                : made->tag.make(op, offset, length);
    request.may_unmap = true;
    made->task.emplace(volume->submit(request));
    ring.settle();
    return made;
  }
  // Only the youngest operation of the ring goes on.
  void finish_first(const Submitted& chosen) {
    while (!chosen.finished() && ring.pending() != 0) ring.perform(ring.pending() - 1);
    ASSERT_TRUE(chosen.finished());
  }
  int finish(const std::unique_ptr<Submitted>& chosen) {
    while (!chosen->finished() && ring.pending() != 0) ring.perform(0);
    EXPECT_TRUE(chosen->finished());
    return chosen->error();
  }
  int write(uint64_t offset, uint64_t length, int value) {
    return finish(submit(Op::write, offset, length, value));
  }
  bool has(uint64_t offset, uint64_t length, int value) {
    const auto reading = submit(Op::read, offset, length, 0x77);
    EXPECT_EQ(finish(reading), 0);
    return std::ranges::all_of(reading->memory,
                               [&](std::byte each) { return each == std::byte(value); });
  }

  Power power{1};
  ManualRing ring;
  PoolOptions options{.no_space_timeout = std::chrono::seconds(0)};
  uint64_t size_bytes = 8 << 20;
  VolatileDisk* metadata = nullptr;
  VolatileDisk* data = nullptr;
  std::shared_ptr<Pool> pool;
  std::unique_ptr<ThinTarget> volume;
};

// The block was made by another write, whose commit has not ended.
TEST_F(ManualPool, WhatADeviceThatOutlivesItsServerHasAcknowledgedIsThere) {
  options.outlives_server = true;
  make();
  const auto first = submit(Op::write, 0, 4096, 1);
  const auto mapped = [&] { return pool->transaction().numbers().provisioned.load() == 1; };
  while (!mapped() && ring.pending() != 0) ring.perform(0);
  ASSERT_FALSE(first->finished());
  const auto second = submit(Op::write, 4096, 4096, 2);
  for (int i = 0; i < 20 && !second->finished() && ring.pending() != 0; ++i) {
    ring.perform(ring.pending() - 1);
  }
  const bool acknowledged = second->finished();
  kill_and_serve();
  if (acknowledged) EXPECT_TRUE(has(4096, 4096, 2));
}

// A volume whose size is no multiple of the block grows while its last block is discarded.
TEST_F(ManualPool, ADiscardSparesWhatIsBehindTheFormerEnd) {
  for (const Op op : {Op::discard, Op::write_zeroes}) {
    SCOPED_TRACE(to_string(op));
    size_bytes = kUnit + 32768;
    make();
    ASSERT_EQ(write(0, kUnit + 32768, 1), 0);
    const auto flushing = submit(Op::flush, 0, 0);  // has the transaction
    ASSERT_FALSE(flushing->finished());
    const auto discarding = submit(op, kUnit, 32768);
    ASSERT_TRUE(volume->resize(2 * kUnit));
    const auto writing = submit(Op::write, kUnit + 32768, 32768, 2);
    finish_first(*writing);
    ASSERT_EQ(writing->error(), 0);
    ASSERT_FALSE(discarding->finished());
    EXPECT_EQ(finish(flushing), 0);
    EXPECT_EQ(finish(discarding), 0);
    EXPECT_TRUE(has(kUnit + 32768, 32768, 2));
    if (op == Op::write_zeroes) EXPECT_TRUE(has(kUnit, 32768, 0));
    stop();
  }
}

// The reserved blocks of a write that fails are space for another one that waits.
TEST_F(ManualPool, AFailedWriteMakesSpace) {
  options.no_space_timeout = std::chrono::seconds(600);
  make(2);
  ASSERT_EQ(write(0, kUnit, 1), 0);
  data->fails = [left = 1](const Request& request) mutable {
    return request.op == Op::write && left-- > 0 ? EIO : 0;
  };
  const auto failing = submit(Op::write, kUnit, kUnit, 1);
  while (data->writes() < 2 && ring.pending() != 0) ring.perform(0);
  ASSERT_FALSE(failing->finished());
  const auto waiting = submit(Op::write, 2 * kUnit, kUnit, 3);
  for (int i = 0; i < 8; ++i) ring.perform(ring.pending() - 1);
  ASSERT_FALSE(waiting->finished());
  EXPECT_EQ(finish(failing), EIO);
  for (int i = 0; i < 40 && !waiting->finished() && ring.pending() != 0; ++i) ring.perform(0);
  ASSERT_TRUE(waiting->finished());
  EXPECT_EQ(waiting->error(), 0);
  EXPECT_TRUE(has(2 * kUnit, kUnit, 3));
}

// T6.5: a discard that comes late would take the data of the next owner. Who may not wait for space
// waits for that.
TEST_F(ManualPool, ABlockThatIsBeingDiscardedIsNotUsed) {
  for (const int seconds : {0, 600}) {
    SCOPED_TRACE(seconds);
    options.no_space_timeout = std::chrono::seconds(seconds);
    make(2);
    ASSERT_EQ(write(0, 2 * kUnit, 1), 0);
    ASSERT_EQ(finish(submit(Op::discard, 0, kUnit)), 0);
    ASSERT_EQ(finish(submit(Op::flush, 0, 0)), 0);
    LifeRequest life(ring);
    Task tidying = pool->tidy(life.request);
    ring.settle();
    ASSERT_EQ(ring.pending(), 1) << "the discard";
    const auto writing = submit(Op::write, 3 * kUnit, kUnit, 3);
    for (int i = 0; i < 20; ++i) ring.perform(ring.pending() - 1);
    EXPECT_FALSE(tidying.finished());
    EXPECT_FALSE(writing->finished());
    EXPECT_EQ(finish(writing), 0);
    EXPECT_TRUE(tidying.finished());
    EXPECT_TRUE(has(3 * kUnit, kUnit, 3));
    if (seconds == 0) EXPECT_EQ(write(4 * kUnit, kUnit, 4), ENOSPC);
    stop();
  }
}

// It is no matter of the pool.
TEST_F(ManualPool, ADataDeviceWithoutSpaceIsNotWaitedFor) {
  options.no_space_timeout = std::chrono::seconds(600);
  make();
  data->fails = [](const Request& request) { return request.op == Op::write ? ENOSPC : 0; };
  const auto writing = submit(Op::write, 0, 4096, 1);
  for (int i = 0; i < 100 && !writing->finished() && ring.pending() != 0; ++i) ring.perform(0);
  ASSERT_TRUE(writing->finished());
  EXPECT_EQ(writing->error(), ENOSPC);
  EXPECT_EQ(pool->transaction().numbers().provisioned, 0);
  EXPECT_EQ(pool->transaction().health().reason, "");
}

// More metadata does not bring back data that a flush has lost.
TEST_F(ManualPool, AFailedFlushIsNotForgottenWhenTheMetadataGrows) {
  make();
  ASSERT_EQ(write(0, 4096, 1), 0);
  ASSERT_EQ(finish(submit(Op::flush, 0, 0)), 0);
  LiveTransaction& live = pool->transaction();
  EXPECT_EQ(live.stop_for_metadata().error(), EIO);
  data->fails = [](const Request& request) { return request.op == Op::flush ? EIO : 0; };
  EXPECT_EQ(finish(submit(Op::flush, 0, 0)), EIO);
  data->fails = nullptr;
  live.resume_with_metadata();
  EXPECT_TRUE(live.is_read_only());
  EXPECT_EQ(write(0, 4096, 1), EIO);
}

// What was freed by a commit that has failed never becomes free.
TEST_F(ManualPool, APoolWhoseCommitHasFailedEndsAtOnce) {
  make();
  ASSERT_EQ(write(0, 4 * kUnit, 1), 0);
  ASSERT_EQ(finish(submit(Op::flush, 0, 0)), 0);
  ASSERT_EQ(finish(submit(Op::discard, 0, 2 * kUnit)), 0);
  metadata->fails = [](const Request& request) { return request.op == Op::write ? EIO : 0; };
  ASSERT_EQ(finish(submit(Op::flush, 0, 0)), EIO);
  const auto begun = std::chrono::steady_clock::now();
  stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
}

// A file that a pool cannot use would grow for ever.
TEST_F(ManualPool, APoolThatCannotUseMoreDoesNotGrow) {
  options.autogrow_bytes = 4 * kUnit;
  make(4);
  ASSERT_EQ(write(0, 3 * kUnit + 4096, 1), 0);
  metadata->fails = [](const Request& request) { return request.op == Op::write ? EIO : 0; };
  for (int i = 0; i < 5; ++i) {
    std::ignore = perform([&](Request& request) { return pool->tidy(request); });
  }
  EXPECT_LE(data->geometry().size_bytes, 8 * kUnit);
}

// One that is not low, but has less than a request needs.
TEST_F(ManualPool, GrowsForALargeRequest) {
  options.autogrow_bytes = 16 * kUnit;
  make(16);
  ASSERT_EQ(write(0, 8 * kUnit, 1), 0);
  EXPECT_EQ(write(8 * kUnit, 20 * kUnit, 2), 0);
  EXPECT_TRUE(has(8 * kUnit, 20 * kUnit, 2));
}

}  // namespace
}  // namespace sluice::thin::test
