// Superblock: the newest valid copy is used, whatever a power cut leaves of the other one.
#include "target/metadata/superblock.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"

namespace sluice::test {
namespace {

using testing::HasSubstr;
using Bytes = std::vector<std::byte>;

constexpr uint64_t kDiskBytes = 64 << 10;
constexpr SuperblockFormat kFormat = {.name = "test pool",
                                      .magic = {'S', 'L', 'T', 'E', 'S', 'T', '0', '1'},
                                      .oldest_version = 2,
                                      .version = 4,
                                      .places = {4096, 32768},
                                      .copy_bytes = 2048};

Bytes payload(uint64_t number, size_t length = 1500) {
  Bytes bytes(length);
  for (size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(number * 31 + i * (i >> 8));
  return bytes;
}

class SuperblockTest : public testing::Test {
 protected:
  SuperblockTest() : power_(1), disk_(power_, kDiskBytes, true) { open(); }

  void open(const SuperblockFormat& format = kFormat) {
    auto made = Superblock::create(disk_, format);
    ASSERT_TRUE(made) << made.error().text;
    superblock_ = std::move(*made);
  }
  template <typename Start>
  int run(Start start) {
    TestTag tag(ring_);
    Request& request = tag.make(Op::flush, 0, uint64_t{0});
    Task task = start(request);
    ring_.perform_all();
    EXPECT_TRUE(task.finished());
    EXPECT_EQ(tag.arena.overflows(), 0U);
    return task.status().error();
  }
  int load() {
    return run([&](Request& request) { return superblock_->load(request); });
  }
  int write(const Bytes& bytes) {
    return run([&](Request& request) { return superblock_->write(request, bytes); });
  }
  int format(const Bytes& bytes) {
    return run([&](Request& request) { return superblock_->format(request, bytes); });
  }
  Bytes image(VolatileDisk::Left left = VolatileDisk::Left::newest) {
    const std::scoped_lock guard(power_.mutex);
    return disk_.after_cut(left, random_);
  }
  void change(size_t place, std::byte value) {
    Bytes bytes = image();
    bytes[place] ^= value;
    disk_.load(bytes);
  }
  Bytes found() const {
    const auto bytes = superblock_->payload();
    return {bytes.begin(), bytes.end()};
  }

  std::mt19937_64 random_{7};
  Power power_;
  VolatileDisk disk_;
  ManualRing ring_;
  std::unique_ptr<Superblock> superblock_;
};

TEST_F(SuperblockTest, WhatIsWrittenIsFoundAgain) {
  ASSERT_EQ(format(payload(0)), 0);
  for (uint64_t i = 1; i < 6; ++i) {
    ASSERT_EQ(write(payload(i, i * 100)), 0);
    open();
    ASSERT_EQ(load(), 0);
    EXPECT_EQ(found(), payload(i, i * 100));
    EXPECT_EQ(superblock_->generation(), 2 + i);
    EXPECT_EQ(superblock_->version(), 4U);
    EXPECT_EQ(superblock_->remark(), "");
  }
}

TEST_F(SuperblockTest, TheVersionThatIsThereStays) {
  SuperblockFormat before = kFormat;
  before.version = 3;
  open(before);
  ASSERT_EQ(format(payload(0)), 0);
  open();
  ASSERT_EQ(load(), 0);
  ASSERT_EQ(write(payload(1)), 0);
  open();
  ASSERT_EQ(load(), 0);
  EXPECT_EQ(superblock_->version(), 3U);
}

// The power is cut at each moment of each write; each sector is then old or new.
TEST_F(SuperblockTest, APowerCutLeavesTheOldOneOrTheNewOne) {
  for (const bool fua : {true, false}) {
    VolatileDisk disk(power_, kDiskBytes, fua);
    auto writer = std::move(*Superblock::create(disk, kFormat));
    uint64_t written = 0;
    Bytes next = payload(0);
    ASSERT_EQ(run([&](Request& request) { return writer->format(request, next); }), 0);
    std::vector<std::pair<uint64_t, Bytes>> images;  // each after the number of the durable payload
    power_.on_event = [&] {
      for (int i = 0; i < 8; ++i) {
        images.emplace_back(written, disk.after_cut(VolatileDisk::Left::any, random_));
      }
    };
    for (uint64_t i = 1; i < 12; ++i) {
      next = payload(i);
      ASSERT_EQ(run([&](Request& request) { return writer->write(request, next); }), 0);
      written = i;
    }
    power_.on_event = nullptr;
    for (const auto& [least, bytes] : images) {
      disk_.load(bytes);
      open();
      ASSERT_EQ(load(), 0) << superblock_->error().text;
      ASSERT_THAT(found(), testing::AnyOf(payload(least), payload(least + 1)));
    }
  }
}

TEST_F(SuperblockTest, AFailedWriteIsTriedInTheSamePlace) {
  ASSERT_EQ(format(payload(0)), 0);
  ASSERT_EQ(write(payload(1)), 0);
  for (int i = 0; i < 20; ++i) {
    disk_.fails = [](const Request& request) { return request.op == Op::write ? EIO : 0; };
    ASSERT_EQ(write(payload(100)), EIO);
    EXPECT_EQ(found(), payload(1));
    disk_.fails = nullptr;
    disk_.load(image(VolatileDisk::Left::any));
    std::unique_ptr<Superblock> serving = std::move(superblock_);
    open();
    ASSERT_EQ(load(), 0) << superblock_->error().text;
    ASSERT_THAT(found(), testing::AnyOf(payload(1), payload(100)));
    superblock_ = std::move(serving);
  }
  ASSERT_EQ(write(payload(2)), 0);
  open();
  ASSERT_EQ(load(), 0);
  EXPECT_EQ(found(), payload(2));
}

TEST_F(SuperblockTest, FormattingLeavesNothingOfAFormerVolume) {
  ASSERT_EQ(format(payload(0)), 0);
  for (uint64_t i = 1; i < 9; ++i) ASSERT_EQ(write(payload(i)), 0);
  open();
  ASSERT_EQ(format(payload(77)), 0);
  for (const size_t place : {size_t{4096 + 40}, size_t{32768 + 40}}) {
    const Bytes before = image();
    change(place, std::byte{1});
    open();
    ASSERT_EQ(load(), 0);
    EXPECT_EQ(found(), payload(77));
    EXPECT_THAT(superblock_->remark(), HasSubstr("has a wrong checksum; generation"));
    disk_.load(before);
  }
}

TEST_F(SuperblockTest, EveryDamageIsFound) {
  ASSERT_EQ(format(payload(0)), 0);
  ASSERT_EQ(write(payload(1)), 0);
  const Bytes whole = image();
  for (size_t i = 0; i < 32 + 1500; ++i) {
    Bytes bytes = whole;
    bytes[32768 + i] ^= static_cast<std::byte>(1U << i % 8);  // the newest copy, or
    bytes[4096 + i] ^= static_cast<std::byte>(1U << i % 8);
    disk_.load(bytes);
    open();
    ASSERT_EQ(load(), EILSEQ) << i;
  }
}

TEST_F(SuperblockTest, SaysWhatIsThereInstead) {
  EXPECT_EQ(load(), EILSEQ);
  EXPECT_EQ(superblock_->error().text,
            "no superblock of a test pool is there: the copy at byte 4096 has another magic, and "
            "the copy at byte 32768 has another magic; check that this is the right file or disk");
  ASSERT_EQ(format(payload(0)), 0);
  const Bytes good = image();
  change(4096 + 16, std::byte{8});
  change(32768, std::byte{8});
  EXPECT_EQ(load(), EILSEQ);
  EXPECT_THAT(
      superblock_->error().text,
      HasSubstr("the copy at byte 4096 has a wrong checksum, and the copy at byte 32768 has "
                "another magic"));
  disk_.load(good);
  disk_.fails = [](const Request&) { return ENXIO; };
  EXPECT_EQ(load(), EIO);
  EXPECT_THAT(superblock_->error().text, HasSubstr("the copy at byte 32768 cannot be read"));
  disk_.fails = [](const Request& request) { return request.offset == 4096 ? EIO : 0; };
  EXPECT_EQ(load(), 0);
  EXPECT_THAT(superblock_->remark(), HasSubstr("the copy at byte 4096 cannot be read"));
}

TEST_F(SuperblockTest, ANewerVersionIsNotPassedOver) {
  ASSERT_EQ(format(payload(0)), 0);
  SuperblockFormat newer = kFormat;
  newer.version = 9;
  newer.oldest_version = 9;
  Bytes bytes = image();
  make_superblock_copy(newer, 9, 17, payload(1), std::span(bytes).subspan(4096, 2048));
  disk_.load(bytes);
  open();
  EXPECT_EQ(load(), EOPNOTSUPP);
  EXPECT_EQ(superblock_->error().text,
            "the test pool is of version 9, and this program reads versions 2 to 4: use a program "
            "that is newer");
  make_superblock_copy(newer, 1, 17, payload(1), std::span(bytes).subspan(4096, 2048));
  disk_.load(bytes);
  EXPECT_EQ(load(), EOPNOTSUPP);
  EXPECT_THAT(superblock_->error().text, HasSubstr("use a program that is older"));
}

TEST_F(SuperblockTest, TwoOfOneGenerationThatDifferAreRefused) {
  ASSERT_EQ(format(payload(0)), 0);
  Bytes bytes = image();
  make_superblock_copy(kFormat, 4, 9, payload(1), std::span(bytes).subspan(4096, 2048));
  make_superblock_copy(kFormat, 4, 9, payload(2), std::span(bytes).subspan(32768, 2048));
  disk_.load(bytes);
  EXPECT_EQ(load(), EILSEQ);
  EXPECT_THAT(superblock_->error().text, HasSubstr("are generation 9 and they differ"));
  make_superblock_copy(kFormat, 4, 9, payload(1), std::span(bytes).subspan(32768, 2048));
  disk_.load(bytes);
  EXPECT_EQ(load(), 0);
}

TEST_F(SuperblockTest, LimitsAreKept) {
  ASSERT_EQ(format(payload(0, 0)), 0);
  EXPECT_EQ(write(payload(1, kFormat.most_payload_bytes())), 0);
  EXPECT_EQ(write(payload(1, kFormat.most_payload_bytes() + 1)), EMSGSIZE);
  Bytes bytes = image();
  make_superblock_copy(kFormat, 4, UINT64_MAX, payload(1), std::span(bytes).subspan(4096, 2048));
  disk_.load(bytes);
  open();
  ASSERT_EQ(load(), 0);
  EXPECT_EQ(write(payload(2)), EOVERFLOW);
  const auto refused = [&](auto change_format) {
    SuperblockFormat format = kFormat;
    change_format(format);
    auto made = Superblock::create(disk_, format);
    return made ? 0 : made.error().error;
  };
  EXPECT_EQ(refused([](SuperblockFormat& format) { format.copy_bytes = 1000; }), EINVAL);
  EXPECT_EQ(refused([](SuperblockFormat& format) { format.places = {4096, 4096 + 1536}; }), EINVAL);
  EXPECT_EQ(refused([](SuperblockFormat& format) { format.places = {100, 8192}; }), EINVAL);
  EXPECT_EQ(refused([](SuperblockFormat& format) { format.places = {0, kDiskBytes - 512}; }),
            ENOSPC);
}

}  // namespace
}  // namespace sluice::test
