// MetadataCache: the order in which blocks reach the disk, the number of flushes, and the blocks
// that errors keep back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/cache_rig.hpp"

namespace sluice::test {
namespace {

class WriteOrderTest : public testing::Test, protected CacheRig {
 protected:
  WriteOrderTest() { open({.blocks = 16}); }

  // Publishes without running the ring, while other tasks wait for the disk.
  void put_now(uint64_t number, uint8_t value) {
    WritePin pin;
    const auto job =
        start([&](Request& request) { return cache->write_new(request, number, pin); });
    ASSERT_EQ(job->error(), 0);
    fill(pin, value);
    pin.publish();
  }
  void fail_writes_of(uint64_t number, int error = EIO) {
    disk.fails = [=](const Request& request) {
      return request.op == Op::write && request.offset == number * kBlockBytes ? error : 0;
    };
  }
};

TEST_F(WriteOrderTest, FlushMakesEverythingDurable) {
  for (uint64_t i = 0; i < 10; ++i) put(i, static_cast<uint8_t>(i + 1));
  EXPECT_EQ(disk.writes(), 0U);
  EXPECT_EQ(cache->stats().dirty, 10U);
  ASSERT_EQ(flush(), 0);
  for (uint64_t i = 0; i < 10; ++i) EXPECT_EQ(on_disk(i), static_cast<int>(i + 1));
  EXPECT_EQ(disk.flushes(), 1U);
  EXPECT_EQ(cache->stats().dirty, 0U);
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(disk.flushes(), 1U) << "nothing was written since";
}

TEST_F(WriteOrderTest, AsManyFlushesAsLevels) {
  // 1 before 2 and 3, these before 4; 5 before 6; the others without orders.
  const BlockVersion one = put(1, 1);
  const BlockVersion two = put(2, 2, one);
  const BlockVersion three = put(3, 3, one);
  WritePin pin;
  ASSERT_EQ(write(4, pin), 0);
  ASSERT_EQ(order(pin, two), 0);
  ASSERT_EQ(order(pin, three), 0);
  fill(pin, 4);
  pin.publish();
  put(6, 6, put(5, 5));
  for (uint64_t i = 7; i < 14; ++i) put(i, 7);
  EXPECT_EQ(disk.writes(), 0U);
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(disk.flushes(), 3U);
  EXPECT_EQ(disk.writes(), 13U);
}

TEST_F(WriteOrderTest, MakeDurableWritesNoMoreThanItMust) {
  const BlockVersion one = put(1, 1);
  const BlockVersion two = put(2, 2, one);
  put(3, 3, two);
  put(4, 4);
  ASSERT_EQ(make_durable(two), 0);
  EXPECT_EQ(on_disk(1), 1);
  EXPECT_EQ(on_disk(2), 2);
  EXPECT_EQ(disk.writes(), 2U);
  EXPECT_EQ(disk.flushes(), 2U);
  ASSERT_EQ(make_durable(one), 0);
  EXPECT_EQ(disk.flushes(), 2U);
}

TEST_F(WriteOrderTest, AVersionIsDurableAfterItsBlockHasMadeRoom) {
  open({.blocks = 2});
  const BlockVersion one = put(1, 1);
  for (uint64_t i = 10; i < 20; ++i) put(i, 5);
  EXPECT_EQ(on_disk(1), 0);
  EXPECT_EQ(on_disk(1, VolatileDisk::Left::newest), 1);
  ASSERT_EQ(make_durable(one), 0);
  EXPECT_EQ(on_disk(1), 1);
}

TEST_F(WriteOrderTest, AnOrderHoldsAfterItsBlockHasMadeRoom) {
  open({.blocks = 2});
  const BlockVersion one = put(1, 1);
  for (uint64_t i = 10; i < 20; ++i) put(i, 5);
  EXPECT_EQ(on_disk(1), 0);
  const uint64_t flushes = disk.flushes();
  put(2, 2, one);
  for (uint64_t i = 20; i < 22; ++i) put(i, 5);
  EXPECT_EQ(on_disk(2, VolatileDisk::Left::newest), 2);
  EXPECT_EQ(on_disk(1), 1);
  EXPECT_EQ(disk.flushes(), flushes + 1);
}

// 2 needs the first version of 1; the second version of 1 needs 2.
TEST_F(WriteOrderTest, ACircleIsBrokenByWritingFirst) {
  const BlockVersion one = put(1, 1);
  const BlockVersion two = put(2, 2, one);
  WritePin pin;
  ASSERT_EQ(write(1, pin), 0);
  fill(pin, 11);
  ASSERT_EQ(order(pin, two), 0);
  EXPECT_EQ(on_disk(1), 1) << "the published version, while the next one is being made";
  EXPECT_EQ(on_disk(2), 2);
  pin.publish();
  EXPECT_EQ(on_disk(1), 1);
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(on_disk(1), 11);
}

// Writers hold both blocks, and each orders its block after the version that the other has
// published.
TEST_F(WriteOrderTest, ACircleOfTwoWritersIsBroken) {
  const BlockVersion one = put(1, 1);
  const BlockVersion two = put(2, 2);
  WritePin pins[2];
  ASSERT_EQ(write(1, pins[0]), 0);
  ASSERT_EQ(write(2, pins[1]), 0);
  ASSERT_EQ(order(pins[0], two), 0);
  ASSERT_EQ(order(pins[1], one), 0);
  for (WritePin& pin : pins) {
    fill(pin, 9);
    pin.publish();
  }
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(on_disk(1), 9);
  EXPECT_EQ(on_disk(2), 9);
}

TEST_F(WriteOrderTest, AVersionAfterItsOwnFormerOne) {
  const BlockVersion former = put(1, 1);
  put(1, 2, former);
  EXPECT_EQ(on_disk(1), 1);
}

TEST_F(WriteOrderTest, MoreOrdersThanFitAreKeptByWriting) {
  open({.blocks = 16});
  std::vector<BlockVersion> before;
  for (uint64_t i = 1; i <= 10; ++i) before.push_back(put(i, 1));
  WritePin pin;
  ASSERT_EQ(write(0, pin), 0);
  for (const BlockVersion version : before) ASSERT_EQ(order(pin, version), 0);
  EXPECT_EQ(on_disk(10), 1);
  EXPECT_EQ(on_disk(1), 0);
  fill(pin, 1);
  pin.publish();
  ASSERT_EQ(flush(), 0);
}

// A version keeps the orders of the version that it supersedes.
TEST_F(WriteOrderTest, OrdersOfASupersededVersionStay) {
  const BlockVersion one = put(1, 1);
  const BlockVersion former = put(2, 2, one);
  put(2, 22);
  power.on_event = [&] {
    const auto bytes = disk.after_cut(VolatileDisk::Left::newest, power.random);
    const auto block = [&](uint64_t i) {
      return value_of(std::span(bytes).subspan(i * kBlockBytes, kBlockBytes));
    };
    if (block(2) == 22) EXPECT_EQ(block(1), 1);
  };
  ASSERT_EQ(make_durable(former), 0);
  power.on_event = nullptr;
  EXPECT_EQ(on_disk(2), 22) << "a newer version stands for an older one";
  EXPECT_EQ(disk.flushes(), 2U);
}

TEST_F(WriteOrderTest, WritersGoOnWhileAnOlderVersionIsWritten) {
  put(1, 1);
  const auto flushing = start([&](Request& request) { return cache->flush(request); });
  ASSERT_EQ(ring.pending(), 1U);
  for (uint8_t i = 2; i < 5; ++i) {
    WritePin pin;
    const auto job = start([&](Request& request) { return cache->write(request, 1, pin); });
    ASSERT_EQ(job->error(), 0);
    fill(pin, i);
    pin.publish();
  }
  ring.perform_all();
  EXPECT_EQ(flushing->error(), 0);
  EXPECT_EQ(on_disk(1), 1) << "what was published later is not what the flush was asked for";
  EXPECT_EQ(cache->stats().dirty, 1U);
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(on_disk(1), 4);
}

// An order on a block that a flush waits for would delay the flush.
TEST_F(WriteOrderTest, AFlushIsNotPutOff) {
  const BlockVersion one = put(1, 1);
  put(2, 2, one);
  const auto flushing = start([&](Request& request) { return cache->flush(request); });
  ASSERT_EQ(ring.pending(), 1U) << "1 is being written, 2 waits for it";
  BlockVersion three;
  {
    WritePin pin;
    const auto job = start([&](Request& request) { return cache->write_new(request, 3, pin); });
    ASSERT_EQ(job->error(), 0);
    fill(pin, 3);
    three = pin.publish();
  }
  WritePin pin;
  const auto writing = start([&](Request& request) { return cache->write(request, 2, pin); });
  ASSERT_EQ(writing->error(), 0);
  const auto ordering =
      start([&](Request& request) { return cache->order_after(request, pin, three); });
  EXPECT_FALSE(ordering->finished());
  ring.perform_all();
  EXPECT_EQ(flushing->error(), 0);
  EXPECT_EQ(ordering->error(), 0);
  EXPECT_EQ(on_disk(2), 2);
  EXPECT_EQ(on_disk(3), 3);
  EXPECT_EQ(disk.flushes(), 3U) << "two for the flush, one for the order";
}

TEST_F(WriteOrderTest, FlushesThatWaitShareOne) {
  put(1, 1);
  std::vector<std::unique_ptr<Job>> jobs;
  for (int i = 0; i < 5; ++i) {
    jobs.push_back(start([&](Request& request) { return cache->flush(request); }));
  }
  ring.perform_all();
  for (const auto& job : jobs) EXPECT_EQ(job->error(), 0);
  EXPECT_EQ(disk.flushes(), 1U);
}

// The flush begins with the first version, writes the second, and must continue with the third.
TEST_F(WriteOrderTest, AFlushIsNotDoneWhenAFailedWriteIsSuperseded) {
  put(2, 2);
  const auto other = start([&](Request& request) { return cache->flush(request); });
  put_now(1, 1);
  const auto flushing = start([&](Request& request) { return cache->flush(request); });
  put_now(1, 11);
  fail_writes_of(1);
  while (disk.writes() < 2) ring.perform(0);
  put_now(1, 111);
  disk.fails = nullptr;
  ring.perform_all();
  EXPECT_EQ(other->error(), 0);
  EXPECT_EQ(flushing->error(), 0);
  EXPECT_EQ(on_disk(1), 111);
}

// --- Data.

TEST_F(WriteOrderTest, DataOnTheSameDiskTakeOneFlushMore) {
  WritePin pin;
  ASSERT_EQ(write(1, pin), 0);
  ASSERT_EQ(order_after_data(pin), 0);
  fill(pin, 1);
  pin.publish();
  put(2, 2);
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(disk.flushes(), 2U);
}

TEST_F(WriteOrderTest, DataElsewhereAreFlushedOnceForAll) {
  open({.blocks = 8, .data = &data});
  for (uint64_t i = 0; i < 3; ++i) {
    WritePin pin;
    ASSERT_EQ(write(i, pin), 0);
    ASSERT_EQ(order_after_data(pin), 0);
    fill(pin, 1);
    pin.publish();
  }
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(data.flushes(), 1U);
  EXPECT_EQ(disk.flushes(), 1U);
  put(1, 2);
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(data.flushes(), 1U) << "these data are durable";
}

TEST_F(WriteOrderTest, DataThatCannotBeFlushedKeepTheirBlockBack) {
  open({.blocks = 8, .data = &data});
  data.fails = [](const Request&) { return EIO; };
  WritePin pin;
  ASSERT_EQ(write(1, pin), 0);
  ASSERT_EQ(order_after_data(pin), 0);
  fill(pin, 1);
  pin.publish();
  EXPECT_EQ(flush(), EIO);
  EXPECT_TRUE(cache->failed());
  data.fails = nullptr;
  EXPECT_EQ(flush(), EIO) << "what a failed flush has lost does not come back";
  EXPECT_EQ(on_disk(1, VolatileDisk::Left::newest), 0);
}

TEST_F(WriteOrderTest, FlushesOfDataThatWaitShareOneAndMayNotFail) {
  std::vector<std::unique_ptr<Job>> jobs;
  for (int i = 0; i < 5; ++i) {
    jobs.push_back(start([&](Request& request) { return cache->make_data_durable(request); }));
  }
  ring.perform_all();
  for (const auto& job : jobs) EXPECT_EQ(job->error(), 0);
  EXPECT_EQ(disk.flushes(), 2U) << "the first had begun before the others came";
  disk.fails = [](const Request&) { return EIO; };
  EXPECT_EQ(run([&](Request& request) { return cache->make_data_durable(request); }), EIO);
  EXPECT_TRUE(cache->failed());
}

// With data elsewhere, what is written to the child without the cache has another flush.
TEST_F(WriteOrderTest, ABlockAfterWhatIsOnTheChild) {
  open({.blocks = 8, .data = &data});
  WritePin pin;
  ASSERT_EQ(write(1, pin), 0);
  ASSERT_EQ(run([&](Request& request) { return cache->order_after_child(request, pin); }), 0);
  fill(pin, 1);
  pin.publish();
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(disk.flushes(), 2U);
  EXPECT_EQ(data.flushes(), 0U);
}

// --- Errors.

TEST_F(WriteOrderTest, AFailedWriteKeepsBackWhatComesAfterIt) {
  const BlockVersion one = put(1, 1);
  put(2, 2, one);
  put(3, 3);
  fail_writes_of(1);
  EXPECT_EQ(flush(), EIO);
  EXPECT_TRUE(cache->failed());
  EXPECT_EQ(on_disk(3), 3) << "the rest is durable";
  EXPECT_EQ(on_disk(2, VolatileDisk::Left::newest), 0);
  const uint64_t writes = disk.writes();
  EXPECT_EQ(flush(), EIO);
  EXPECT_EQ(make_durable(one), EIO);
  EXPECT_EQ(disk.writes(), writes) << "it is not tried again by itself";
  EXPECT_EQ(get(1), 1);
  disk.fails = nullptr;
  cache->forgive();
  EXPECT_EQ(flush(), 0);
  EXPECT_FALSE(cache->failed());
  EXPECT_EQ(on_disk(1), 1);
  EXPECT_EQ(on_disk(2), 2);
}

TEST_F(WriteOrderTest, ANewVersionIsTriedAnew) {
  const BlockVersion one = put(1, 1);
  put(2, 2, one);
  fail_writes_of(1);
  EXPECT_EQ(flush(), EIO);
  disk.fails = nullptr;
  put(1, 11);
  EXPECT_FALSE(cache->failed());
  EXPECT_EQ(flush(), 0);
  EXPECT_EQ(on_disk(1), 11);
  EXPECT_EQ(on_disk(2), 2);
}

TEST_F(WriteOrderTest, AFailedFlushEndsAllWriting) {
  put(1, 1);
  EXPECT_EQ(get(2), 0);
  disk.fails = [](const Request& request) { return request.op == Op::flush ? EIO : 0; };
  EXPECT_EQ(flush(), EIO);
  disk.fails = nullptr;
  put(2, 2);
  cache->forgive();
  EXPECT_EQ(flush(), EIO);
  EXPECT_TRUE(cache->failed());
  EXPECT_EQ(on_disk(2, VolatileDisk::Left::newest), 0);
  EXPECT_EQ(get(2), 2);
}

// The block was written and evicted, and the failed flush may have lost it.
TEST_F(WriteOrderTest, AfterAFailedFlushOnlyWhatIsInTheCacheIsTrusted) {
  open({.blocks = 2});
  put(1, 1);
  for (uint64_t i = 10; i < 14; ++i) put(i, 5);
  disk.fails = [](const Request& request) { return request.op == Op::flush ? EIO : 0; };
  EXPECT_EQ(flush(), EIO);
  disk.fails = nullptr;
  ReadPin reader;
  EXPECT_EQ(read(1, reader), EIO);
  WritePin writer;
  EXPECT_EQ(write_new(1, writer), EIO);
  EXPECT_EQ(get(13), 5);
}

TEST_F(WriteOrderTest, WithoutRoomAnErrorIsToldAndNobodyWaits) {
  open({.blocks = 3});
  disk.fails = [](const Request& request) { return request.op == Op::write ? ENXIO : 0; };
  for (uint64_t i = 0; i < 3; ++i) put(i, 1);
  ReadPin pin;
  EXPECT_EQ(read(9, pin), ENXIO);
  EXPECT_EQ(read(9, pin), ENXIO);
  ReadPin held;
  ASSERT_EQ(read(1, held), 0);
  EXPECT_EQ(read(9, pin), ENXIO);
  disk.fails = nullptr;
  cache->forgive();
  EXPECT_EQ(read(9, pin), 0);
}

}  // namespace
}  // namespace sluice::test
