// CryptTarget: bytes on their way, in every kind of memory, with every order and fault.
#include "target/crypt/crypt_target.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <random>
#include <vector>

#include "core/descriptor.hpp"
#include "support/manual_ring.hpp"
#include "support/member_target.hpp"
#include "support/test_tag.hpp"

namespace sluice::test {
namespace {

using crypt::Cipher;
using crypt::CryptTarget;
using crypt::Layout;
using crypt::Secret;
using crypt::SectorCipher;

constexpr uint64_t kDiskBytes = 4 << 20;
constexpr uint64_t kDataOffset = 64 << 10;

std::vector<std::byte> random_bytes(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& each : bytes) each = static_cast<std::byte>(random());
  return bytes;
}

class CryptTargetTest : public testing::Test {
 protected:
  void SetUp() override { open(512, /*can_discard=*/false); }
  void TearDown() override { close_all(); }

  void close_all() {
    if (target_ == nullptr) return;
    LifeRequest life(ring_);
    LifeCall call;
    Task detaching = target_->detach(life.request, call);
    EXPECT_TRUE(detaching.finished());
    target_.reset();
    close(file_);
  }

  void open(uint32_t sector_bytes, bool can_discard) {
    close_all();
    layout_ = {.cipher = Cipher::aes_xts_plain64,
               .key_bytes = 64,
               .sector_bytes = sector_bytes,
               .data_offset = kDataOffset,
               .first_number = 24};
    file_ = memfd_create("disk", MFD_CLOEXEC);
    ASSERT_EQ(ftruncate(file_, kDiskBytes), 0);
    Target::Children children;
    children.push_back(std::make_unique<Member>(file_, kDiskBytes));
    Geometry geometry = children.front()->geometry();
    geometry.size_bytes = kDiskBytes - kDataOffset;
    geometry.logical_block_bytes = sector_bytes;
    geometry.can_write_zeroes = false;
    geometry.can_discard = can_discard;
    target_ = std::make_unique<CryptTarget>(std::move(children), layout_,
                                            std::move(*Secret::copy_of(key_)), geometry);
    cipher_ = std::move(*SectorCipher::create(layout_.cipher, key_, sector_bytes));
    LifeRequest life(ring_);
    LifeCall call;
    Task attaching = target_->attach(life.request, call);
    ASSERT_TRUE(attaching.finished() && attaching.status().ok()) << call.why;
  }

  Status run(Request& request) {
    Task task = target_->submit(request);
    ring_.perform_all();
    EXPECT_TRUE(task.finished());
    return task.status();
  }

  // What is on the disk, deciphered by itself.
  std::vector<std::byte> on_disk(uint64_t offset, size_t length) {
    std::vector<std::byte> bytes(length);
    EXPECT_EQ(pread(file_, bytes.data(), length, static_cast<off_t>(kDataOffset + offset)),
              static_cast<ssize_t>(length));
    EXPECT_TRUE(cipher_->decrypt(24 + offset / 512, bytes, bytes.data()));
    return bytes;
  }

  const std::vector<std::byte> key_ = random_bytes(64, 1);
  Layout layout_;
  int file_ = -1;
  ManualRing ring_;
  TestTag tag_{ring_};
  std::unique_ptr<CryptTarget> target_;
  std::unique_ptr<SectorCipher> cipher_;
};

TEST_F(CryptTargetTest, WhatIsWrittenIsEncipheredAndComesBack) {
  for (const size_t length : {512U, 4096U, 65536U, 66048U, 1048576U, 1000448U}) {
    auto data = random_bytes(length, length);
    ASSERT_TRUE(run(tag_.make(Op::write, 512, data)).ok()) << length;
    EXPECT_EQ(data, random_bytes(length, length)) << "the client's memory is not changed";
    EXPECT_EQ(on_disk(512, length), data) << length;
    std::vector<std::byte> back(length);
    ASSERT_TRUE(run(tag_.make(Op::read, 512, back)).ok()) << length;
    EXPECT_EQ(back, data) << length;
    EXPECT_EQ(tag_.loan.filled_bytes(), length);
  }
}

TEST_F(CryptTargetTest, LargeSectors) {  // T7.3, T7.5
  open(4096, false);
  auto data = random_bytes(12288, 5);
  ASSERT_TRUE(run(tag_.make(Op::write, 8192, data)).ok());
  EXPECT_EQ(on_disk(8192, 12288), data);
  EXPECT_EQ(run(tag_.make(Op::write, 512, std::span(data).first(4096))).error(), EINVAL)
      << "a part of a sector";
  EXPECT_EQ(run(tag_.make(Op::write, 4096, std::span(data).first(512))).error(), EINVAL);
}

TEST_F(CryptTargetTest, PiecesEndInAnyOrder) {
  std::mt19937_64 random(7);
  const auto data = random_bytes(768 << 10, 3);
  ASSERT_EQ(
      run(tag_.make(Op::write, 0, std::span(const_cast<std::byte*>(data.data()), data.size())))
          .error(),
      0);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::byte> back(data.size());
    Task task = target_->submit(tag_.make(Op::read, 0, back));
    ring_.settle();
    EXPECT_GT(ring_.pending(), 1U) << "several are on their way";
    while (ring_.pending() != 0) ring_.perform(random() % ring_.pending());
    ASSERT_TRUE(task.finished() && task.status().ok());
    ASSERT_EQ(back, data);
  }
}

// T7.15
TEST_F(CryptTargetTest, AFaultOfOnePieceEndsTheRequestOnceAndFreesItsBuffers) {
  auto data = random_bytes(1 << 20, 3);
  for (const Op op : {Op::read, Op::write}) {
    for (int failing = 0; failing < 16; ++failing) {
      Task task = target_->submit(tag_.make(op, 0, data));
      ring_.settle();
      for (int done = 0; ring_.pending() != 0; ++done) {
        if (done == failing) {
          ring_.complete(0, -ENOMEM);
        } else {
          ring_.perform(0);
        }
      }
      ASSERT_TRUE(task.finished());
      EXPECT_EQ(task.status().error(), ENOMEM);
    }
  }
  EXPECT_TRUE(run(tag_.make(Op::write, 0, data)).ok());
}

// More requests than buffers: they wait in line, and all end.
TEST_F(CryptTargetTest, RequestsWaitForBuffers) {
  constexpr size_t kTags = 100;
  std::vector<std::unique_ptr<TestTag>> tags;
  std::vector<std::vector<std::byte>> data;
  std::vector<std::unique_ptr<Task>> tasks;
  for (size_t i = 0; i < kTags; ++i) {
    tags.push_back(std::make_unique<TestTag>(ring_));
    data.push_back(random_bytes(4096, i));
    tasks.push_back(std::make_unique<Task>(
        target_->submit(tags.back()->make(Op::write, i * 4096, data.back()))));
  }
  ring_.settle();
  EXPECT_LT(ring_.pending(), kTags);
  ring_.perform_all();
  for (size_t i = 0; i < kTags; ++i) {
    ASSERT_TRUE(tasks[i]->finished() && tasks[i]->status().ok()) << i;
    EXPECT_EQ(on_disk(i * 4096, 4096), data[i]);
  }
  tasks.clear();
}

// Pages that only the kernel can access are copied.
TEST_F(CryptTargetTest, RegisteredPages) {
  const Descriptor memory(::open("/proc/self/mem", O_RDWR | O_CLOEXEC));
  tag_.own_memory = File{.number = memory.number()};
  auto data = random_bytes(200 << 10, 8);
  ring_.set_buffer(3, data);
  ASSERT_TRUE(run(tag_.make(Op::write, 0, data, 3)).ok());
  EXPECT_EQ(on_disk(0, data.size()), data);
  std::vector<std::byte> back(data.size());
  ring_.set_buffer(3, back);
  ASSERT_TRUE(run(tag_.make(Op::read, 0, back, 3)).ok());
  EXPECT_EQ(back, data);
}

class ScatteredLender final : public Lender {
 public:
  void returned(Loan&) noexcept override {}
};

// Memory in several places, whose borders are in sectors or between them.
TEST_F(CryptTargetTest, ScatteredMemory) {
  for (const size_t first : {512U, 100U, 4096U, 4097U}) {
    auto data = random_bytes(96 << 10, first);
    const iovec places[] = {{data.data(), first},
                            {data.data() + first, 70000},
                            {data.data() + first + 70000, data.size() - first - 70000}};
    ScatteredLender lender;
    Loan loan;
    Request& writing = tag_.make(Op::write, 0, uint64_t{data.size()});
    writing.data = loan.lend_scattered(lender, Direction::source, places);
    ASSERT_TRUE(run(writing).ok());
    EXPECT_EQ(on_disk(0, data.size()), data);
    writing.data.drop();
    const auto before = data;
    std::ranges::fill(data, std::byte{0});
    Request& reading = tag_.make(Op::read, 0, uint64_t{data.size()});
    reading.data = loan.lend_scattered(lender, Direction::destination, places);
    ASSERT_TRUE(run(reading).ok());
    EXPECT_EQ(loan.filled_bytes(), data.size());
    reading.data.drop();
    EXPECT_EQ(data, before) << first;
  }
}

// T7.12
TEST_F(CryptTargetTest, ZeroesAreEncipheredZeroes) {
  Request& zeroing = tag_.make(Op::write_zeroes, 4096, uint64_t{1} << 20);
  ASSERT_TRUE(run(zeroing).ok());
  EXPECT_EQ(on_disk(4096, 1 << 20), std::vector<std::byte>(1 << 20));
  std::vector<std::byte> raw(512);
  ASSERT_EQ(pread(file_, raw.data(), 512, kDataOffset + 4096), 512);
  EXPECT_NE(raw, std::vector<std::byte>(512)) << "the disk has no zeroes";
  Request& fast = tag_.make(Op::write_zeroes, 4096, uint64_t{4096});
  fast.fast_only = true;
  EXPECT_EQ(run(fast).error(), EOPNOTSUPP);
}

// T7.12
TEST_F(CryptTargetTest, DiscardsArePassedOnOnlyIfAllowed) {
  EXPECT_EQ(run(tag_.make(Op::discard, 0, uint64_t{65536})).error(), EOPNOTSUPP);
  open(512, /*can_discard=*/true);
  auto data = random_bytes(65536, 1);
  ASSERT_TRUE(run(tag_.make(Op::write, 0, data)).ok());
  ASSERT_TRUE(run(tag_.make(Op::discard, 4096, uint64_t{8192})).ok());
  std::vector<std::byte> raw(8192);
  ASSERT_EQ(pread(file_, raw.data(), raw.size(), kDataOffset + 4096), 8192);
  EXPECT_EQ(raw, std::vector<std::byte>(8192)) << "unmapped there, of the same length";
  EXPECT_EQ(on_disk(0, 4096), std::vector(data.begin(), data.begin() + 4096));
}

TEST_F(CryptTargetTest, FlushesAndDurableWritesReachTheChild) {
  {
    Task flushing = target_->submit(tag_.make(Op::flush, 0, uint64_t{0}));
    ring_.settle();
    ASSERT_EQ(ring_.pending(), 1U);
    EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_FSYNC);
    ring_.perform_all();
    EXPECT_TRUE(flushing.status().ok());
  }
  auto data = random_bytes(512, 1);
  Request& durable = tag_.make(Op::write, 0, data);
  durable.fua = true;
  Task writing = target_->submit(durable);
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).rw_flags, RWF_DSYNC);
  ring_.perform_all();
  EXPECT_TRUE(writing.status().ok());
}

// In the steady state nothing comes from the heap.
TEST_F(CryptTargetTest, LargeRequestsFitIntoTheArena) {
  auto data = random_bytes(1 << 20, 1);
  ASSERT_TRUE(run(tag_.make(Op::write, 0, data)).ok());
  ASSERT_TRUE(run(tag_.make(Op::read, 0, data)).ok());
  ASSERT_TRUE(run(tag_.make(Op::write_zeroes, 0, uint64_t{3} << 20)).ok());
  EXPECT_EQ(tag_.arena.overflows(), 0U);
}

// Several requests at a time, in parts of the disk that do not overlap, with short transfers and in
// any order, compared with an oracle.
TEST_F(CryptTargetTest, RandomRequestsMatchAnOracle) {
  constexpr size_t kTags = 6;
  constexpr size_t kPart = 256 << 10;
  std::mt19937_64 random(11);
  for (const uint32_t sector : {512U, 4096U}) {
    open(sector, false);
    std::vector<std::byte> oracle(kTags * kPart);
    ASSERT_TRUE(run(tag_.make(Op::write, 0, oracle)).ok());
    std::vector<std::unique_ptr<TestTag>> tags;
    for (size_t i = 0; i < kTags; ++i) tags.push_back(std::make_unique<TestTag>(ring_));
    for (int round = 0; round < 60; ++round) {
      std::vector<std::vector<std::byte>> data(kTags);
      std::vector<std::unique_ptr<Task>> tasks;
      for (size_t i = 0; i < kTags; ++i) {
        const uint64_t first = random() % (kPart / sector);
        const uint64_t count = random() % (kPart / sector - first) + 1;
        const uint64_t offset = i * kPart + first * sector;
        const auto part = std::span(oracle).subspan(offset, count * sector);
        const Op op = std::array{Op::read, Op::write, Op::write_zeroes}[random() % 3];
        data[i] = random_bytes(part.size(), random());
        Request& request = op == Op::write_zeroes ? tags[i]->make(op, offset, part.size())
                                                  : tags[i]->make(op, offset, data[i]);
        tasks.push_back(std::make_unique<Task>(target_->submit(request)));
        if (op == Op::write) std::ranges::copy(data[i], part.begin());
        if (op == Op::write_zeroes) std::ranges::fill(part, std::byte{0});
        if (op != Op::read) data[i].assign(part.begin(), part.end());
      }
      ring_.settle();
      while (ring_.pending() != 0) {
        const size_t index = random() % ring_.pending();
        if (random() % 8 == 0) {
          ring_.complete(index, -EINTR);
        } else {
          ring_.perform(index, random() % 2 == 0 ? UINT32_MAX : (random() % 64 + 1) * 512);
        }
      }
      for (size_t i = 0; i < kTags; ++i) {
        ASSERT_TRUE(tasks[i]->finished() && tasks[i]->status().ok());
        const uint64_t offset = tags[i]->request.offset;
        const auto part = std::span(oracle).subspan(offset, data[i].size());
        ASSERT_TRUE(std::ranges::equal(data[i], part)) << "tag " << i;
        ASSERT_TRUE(std::ranges::equal(on_disk(offset, data[i].size()), part)) << "tag " << i;
        EXPECT_EQ(tags[i]->arena.overflows(), 0U);
      }
      tasks.clear();
    }
  }
}

TEST_F(CryptTargetTest, ARingThatIsNotAttachedIsRefused) {
  ManualRing other;
  TestTag tag(other);
  auto data = random_bytes(512, 1);
  Task task = target_->submit(tag.make(Op::read, 0, data));
  EXPECT_EQ(task.status().error(), ENOTCONN);
}

}  // namespace
}  // namespace sluice::test
