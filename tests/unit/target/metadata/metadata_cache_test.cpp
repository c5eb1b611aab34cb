// MetadataCache: pins, versions, waits and room.
#include "target/metadata/metadata_cache.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/cache_rig.hpp"
#include "unit/core/allocations.hpp"

namespace sluice::test {
namespace {

class MetadataCacheTest : public testing::Test, protected CacheRig {};

TEST_F(MetadataCacheTest, SizesAreChecked) {
  const auto refused = [&](uint32_t block_bytes, uint32_t blocks, uint32_t writes) {
    auto made = MetadataCache::create(
        disk, {.block_bytes = block_bytes, .blocks = blocks, .writes_in_flight = writes});
    return made ? 0 : made.error().error;
  };
  EXPECT_EQ(refused(512, 2, 1), 0);
  EXPECT_EQ(refused(64 << 10, 2, 16), 0);
  EXPECT_EQ(refused(256, 2, 1), EINVAL);
  EXPECT_EQ(refused(1000, 2, 1), EINVAL);
  EXPECT_EQ(refused(128 << 10, 2, 1), EINVAL);
  EXPECT_EQ(refused(512, 1, 1), EINVAL);
  EXPECT_EQ(refused(512, 2, 0), EINVAL);
  EXPECT_EQ(refused(512, 2, 17), EINVAL);
}

// Then the child has been written without the cache.
TEST_F(MetadataCacheTest, AForgottenBlockIsReadAgain) {
  put(1, 1);
  put(2, 2);
  EXPECT_FALSE(cache->forget(1, 2, ring)) << "they are not written";
  ASSERT_EQ(flush(), 0);
  {
    ReadPin pin;
    ASSERT_EQ(read(2, pin), 0);
    EXPECT_FALSE(cache->forget(1, 2, ring)) << "one is in use";
  }
  const uint64_t before = cache->stats().misses;
  EXPECT_TRUE(cache->forget(1, 3, ring)) << "also what was never there";
  for (uint64_t number = 1; number < 3; ++number) {
    ReadPin pin;
    ASSERT_EQ(read(number, pin), 0);
    EXPECT_EQ(std::to_integer<uint64_t>(pin.bytes()[0]), number);
  }
  EXPECT_EQ(cache->stats().misses, before + 2);
  for (uint64_t number = 10; number < 20; ++number) {
    put(number, 3);
    ASSERT_EQ(flush(), 0);
    EXPECT_TRUE(cache->forget(number, 1, ring));
  }
}

TEST_F(MetadataCacheTest, AHitNeitherWaitsNorAllocates) {
  ASSERT_EQ(get(3), 0);
  TestTag tag(ring);
  Request& request = tag.make(Op::flush, 0, uint64_t{0});
  const uint64_t before = allocations();
  for (int i = 0; i < 10; ++i) {
    ReadPin reader;
    WritePin writer;
    const Task reading = cache->read(request, 3, reader);
    const Task writing = cache->write(request, 3, writer);
    EXPECT_TRUE(reading.finished() && writing.finished());
  }
  EXPECT_EQ(allocations(), before);
  EXPECT_EQ(tag.arena.used_bytes(), 0U);
  EXPECT_EQ(cache->stats().hits, 20U);
  EXPECT_EQ(cache->stats().misses, 1U);
}

TEST_F(MetadataCacheTest, NothingIsAllocatedWhenRoomIsMade) {
  for (uint64_t i = 0; i < 20; ++i) put(i, 1);
  ASSERT_EQ(flush(), 0);
  TestTag tag(ring);
  disk.fails = nullptr;
  for (uint64_t i = 0; i < 20; ++i) {
    WritePin pin;
    Request& request = tag.make(Op::flush, 0, uint64_t{0});
    Task writing = cache->write(request, i, pin);
    ring.perform_all();
    ASSERT_TRUE(writing.finished());
    pin.publish();
  }
  EXPECT_EQ(tag.arena.overflows(), 0U);
}

TEST_F(MetadataCacheTest, ReadersKeepWhatTheyPinned) {
  put(1, 10);
  ReadPin old_reader;
  ASSERT_EQ(read(1, old_reader), 0);
  put(1, 11);
  EXPECT_EQ(value_of(old_reader.bytes()), 10);
  EXPECT_EQ(get(1), 11);
}

// The old reader holds the other buffer.
TEST_F(MetadataCacheTest, AWriterWaitsForReadersOfTheVersionBeforeLast) {
  put(1, 10);
  auto old_reader = std::make_unique<ReadPin>();
  ASSERT_EQ(read(1, *old_reader), 0);
  put(1, 11);
  WritePin pin;
  const auto job = start([&](Request& request) { return cache->write(request, 1, pin); });
  EXPECT_FALSE(job->finished());
  EXPECT_EQ(get(1), 11) << "readers are not in its way";
  old_reader.reset();
  ring.settle();
  ASSERT_EQ(job->error(), 0);
  EXPECT_EQ(value_of(pin.bytes()), 11);
}

TEST_F(MetadataCacheTest, WritersTakeTurns) {
  WritePin first;
  ASSERT_EQ(write(1, first), 0);
  WritePin second;
  WritePin third;
  const auto job2 = start([&](Request& request) { return cache->write(request, 1, second); });
  const auto job3 = start([&](Request& request) { return cache->write(request, 1, third); });
  EXPECT_FALSE(job2->finished() || job3->finished());
  fill(first, 1);
  first.publish();
  ring.settle();
  ASSERT_EQ(job2->error(), 0);
  EXPECT_FALSE(job3->finished());
  EXPECT_EQ(value_of(second.bytes()), 1);
  second.abandon();
  ring.settle();
  ASSERT_EQ(job3->error(), 0);
  EXPECT_EQ(value_of(third.bytes()), 1);
  EXPECT_EQ(cache->stats().waits, 2U);
}

TEST_F(MetadataCacheTest, WhatIsAbandonedIsForgotten) {
  put(1, 7);
  {
    WritePin pin;
    ASSERT_EQ(write(1, pin), 0);
    fill(pin, 8);
  }
  EXPECT_EQ(get(1), 7);
  EXPECT_EQ(flush(), 0);
  EXPECT_EQ(on_disk(1), 7);
}

TEST_F(MetadataCacheTest, ANewBlockIsNotRead) {
  disk.fails = [](const Request& request) { return request.op == Op::read ? EIO : 0; };
  WritePin pin;
  ASSERT_EQ(write_new(5, pin), 0);
  EXPECT_EQ(value_of(pin.bytes()), 0);
  ReadPin reader;
  const auto job = start([&](Request& request) { return cache->read(request, 5, reader); });
  EXPECT_FALSE(job->finished()) << "it is not there before it is published";
  fill(pin, 9);
  pin.publish();
  ring.settle();
  ASSERT_EQ(job->error(), 0);
  EXPECT_EQ(value_of(reader.bytes()), 9);
  WritePin again;
  ASSERT_EQ(write_new(5, again), 0);
  EXPECT_EQ(value_of(again.bytes()), 0);
}

TEST_F(MetadataCacheTest, ANewBlockThatIsAbandonedIsWhatIsOnTheDisk) {
  put(5, 3);
  ASSERT_EQ(flush(), 0);
  open({.blocks = 4});
  WritePin pin;
  ASSERT_EQ(write_new(5, pin), 0);
  ReadPin reader;
  const auto job = start([&](Request& request) { return cache->read(request, 5, reader); });
  pin.abandon();
  ring.perform_all();
  ASSERT_EQ(job->error(), 0);
  EXPECT_EQ(value_of(reader.bytes()), 3);
}

TEST_F(MetadataCacheTest, AFailedReadFailsAllWhoWaitForItAndIsTriedAgain) {
  disk.fails = [](const Request& request) { return request.op == Op::read ? EIO : 0; };
  ReadPin pins[3];
  std::vector<std::unique_ptr<Job>> jobs;
  for (ReadPin& pin : pins) {
    jobs.push_back(start([&](Request& request) { return cache->read(request, 9, pin); }));
  }
  ring.perform_all();
  for (const auto& job : jobs) EXPECT_EQ(job->error(), EIO);
  for (const ReadPin& pin : pins) EXPECT_FALSE(pin.held());
  EXPECT_EQ(disk.reads(), 1U);
  disk.fails = nullptr;
  EXPECT_EQ(get(9), 0);
}

TEST_F(MetadataCacheTest, WhoMakesABlockAnewDoesNotMindThatItCannotBeRead) {
  disk.fails = [](const Request& request) { return request.op == Op::read ? EIO : 0; };
  ReadPin reader;
  WritePin writer;
  const auto reading = start([&](Request& request) { return cache->read(request, 9, reader); });
  const auto making = start([&](Request& request) { return cache->write_new(request, 9, writer); });
  ring.perform_all();
  EXPECT_EQ(reading->error(), EIO);
  ASSERT_EQ(making->error(), 0);
  fill(writer, 4);
  writer.publish();
  EXPECT_EQ(get(9), 4);
}

TEST_F(MetadataCacheTest, ABlockBeyondTheChildIsRefused) {
  ReadPin pin;
  EXPECT_EQ(read(kBlocksOnDisk, pin), EINVAL);
  EXPECT_EQ(read(UINT64_MAX, pin), EINVAL);
  EXPECT_EQ(read(kBlocksOnDisk - 1, pin), 0);
}

TEST_F(MetadataCacheTest, AMissWaitsWhileAllIsPinnedInTheOrderOfComing) {
  std::vector<std::unique_ptr<ReadPin>> pins;
  for (uint64_t i = 0; i < 4; ++i) {
    pins.push_back(std::make_unique<ReadPin>());
    ASSERT_EQ(read(i, *pins.back()), 0);
  }
  ReadPin late[2];
  const auto first = start([&](Request& request) { return cache->read(request, 10, late[0]); });
  const auto second = start([&](Request& request) { return cache->read(request, 11, late[1]); });
  ring.perform_all();
  EXPECT_FALSE(first->finished() || second->finished());
  pins[2].reset();
  ring.perform_all();
  EXPECT_EQ(first->error(), 0);
  EXPECT_FALSE(second->finished());
  EXPECT_EQ(get(1), 0) << "hits do not wait in line";
  pins[0].reset();
  ring.perform_all();
  EXPECT_EQ(second->error(), 0);
  EXPECT_EQ(cache->stats().evictions, 2U);
  EXPECT_EQ(cache->stats().pinned, 4U);
}

// Writers hold two of four blocks, whose older versions must be written to make room.
TEST_F(MetadataCacheTest, RoomIsMadeOfWhatDependsOnBlocksInUse) {
  const BlockVersion one = put(1, 1);
  const BlockVersion two = put(2, 2, one);
  put(3, 3, two);
  put(4, 4, two);
  WritePin first;
  WritePin second;
  ASSERT_EQ(write(1, first), 0);
  ASSERT_EQ(write(2, second), 0);
  EXPECT_EQ(get(20), 0);
  EXPECT_EQ(get(21), 0);
  EXPECT_EQ(on_disk(1), 1);
  EXPECT_EQ(on_disk(2), 2);
}

// More coroutines than there are slots take different blocks at the same time.
TEST_F(MetadataCacheTest, ManyMissesShareFewSlots) {
  open({.blocks = 2});
  std::vector<std::unique_ptr<Job>> jobs;
  std::vector<std::unique_ptr<ReadPin>> pins;
  for (uint64_t i = 0; i < 20; ++i) {
    pins.push_back(std::make_unique<ReadPin>());
    jobs.push_back(start([&](Request& request) { return cache->read(request, i % 7, *pins[i]); }));
  }
  for (int turns = 0; turns < 1000; ++turns) {
    ring.perform_all();
    for (size_t i = 0; i < jobs.size(); ++i) {
      if (jobs[i]->finished() && pins[i]->held()) pins[i]->release();
    }
  }
  for (const auto& job : jobs) EXPECT_EQ(job->error(), 0);
}

class Sealed final : public BlockSeal {
 public:
  bool verify(uint64_t number, std::span<const std::byte> block) const override {
    return block.back() == mark(number);
  }
  void seal(uint64_t number, std::span<std::byte> block) const override {
    block.back() = mark(number);
  }

 private:
  static std::byte mark(uint64_t number) { return static_cast<std::byte>(number + 100); }
};

TEST_F(MetadataCacheTest, BlocksAreSealedAndVerified) {
  const Sealed sealed;
  open({.blocks = 4, .seal = &sealed});
  ReadPin pin;
  EXPECT_EQ(read(6, pin), EILSEQ);
  {
    WritePin writer;
    ASSERT_EQ(write_new(6, writer), 0);
    writer.publish();
  }
  ASSERT_EQ(flush(), 0);
  ASSERT_EQ(read(6, pin), 0);
  EXPECT_EQ(pin.bytes().back(), std::byte{0}) << "the copy is sealed, not the block";
  pin.release();
  open({.blocks = 4, .seal = &sealed});
  ASSERT_EQ(read(6, pin), 0);
  EXPECT_EQ(pin.bytes().back(), std::byte{106});
  pin.release();
}

using MetadataCacheDeathTest = MetadataCacheTest;

TEST_F(MetadataCacheDeathTest, ItMayNotGoWithPinsOut) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_DEATH(
      {
        ReadPin pin;
        if (read(1, pin) == 0) cache.reset();
      },
      "outlives its pins");
}

}  // namespace
}  // namespace sluice::test
