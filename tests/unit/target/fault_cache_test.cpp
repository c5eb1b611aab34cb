// fault(cache=volatile): the contents of cache and file before and after flushes and power cuts.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/fan_out.hpp"
#include "support/member_target.hpp"
#include "target/fault.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kBlock = 512;
constexpr uint64_t kSize = 256 * kBlock;

// One request at a time, on a fault over a real file.
class FaultCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    file_ = memfd_create("disk", MFD_CLOEXEC);
    ASSERT_EQ(ftruncate(file_, kSize), 0);
    open({.volatile_cache = true});
  }
  void TearDown() override { close(file_); }

  void open(FaultOptions options) {
    Target::Children child;
    child.push_back(std::make_unique<Member>(file_, kSize));
    fault_ = std::make_unique<Fault>(std::move(child), options);
  }

  Status run(Request& request) {
    Task task = fault_->submit(request);
    ring_.perform_all();
    EXPECT_TRUE(task.finished());
    return task.status();
  }
  Status write(uint64_t block, uint64_t blocks, char what, bool fua = false) {
    std::fill_n(memory_.begin(), blocks * kBlock, static_cast<std::byte>(what));
    Request& request =
        tag_.make(Op::write, block * kBlock, std::span(memory_).first(blocks * kBlock));
    request.fua = fua;
    return run(request);
  }
  Status run(Op op, uint64_t block = 0, uint64_t blocks = 0) {
    return run(tag_.make(op, block * kBlock, blocks * kBlock));
  }

  // One letter for each block: '.' for zeroes, '?' if its bytes differ.
  std::string read(uint64_t block, uint64_t blocks) {
    const std::span<std::byte> memory = std::span(memory_).first(blocks * kBlock);
    std::ranges::fill(memory, std::byte{'!'});
    const Status status = run(tag_.make(Op::read, block * kBlock, memory));
    if (status.ok()) EXPECT_EQ(tag_.loan.filled_bytes(), memory.size());
    return status.ok() ? letters(memory) : "error";
  }
  std::string on_disk(uint64_t block, uint64_t blocks) {
    std::vector<std::byte> memory(blocks * kBlock);
    EXPECT_EQ(pread(file_, memory.data(), memory.size(), static_cast<off_t>(block * kBlock)),
              static_cast<ssize_t>(memory.size()));
    return letters(memory);
  }
  static std::string letters(std::span<const std::byte> memory) {
    std::string text;
    for (size_t begin = 0; begin < memory.size(); begin += kBlock) {
      const std::span<const std::byte> block = memory.subspan(begin, kBlock);
      const bool same =
          std::ranges::all_of(block, [&](std::byte byte) { return byte == block[0]; });
      text += !same ? '?' : block[0] == std::byte{0} ? '.' : static_cast<char>(block[0]);
    }
    return text;
  }

  int file_ = -1;
  std::vector<std::byte> memory_ = std::vector<std::byte>(kSize);
  ManualRing ring_;
  TestTag tag_{ring_};
  std::unique_ptr<Fault> fault_;
};

TEST_F(FaultCacheTest, TellsWhatItIs) {
  EXPECT_TRUE(fault_->geometry().volatile_cache);
  EXPECT_TRUE(fault_->geometry().needs_bytes);
  EXPECT_EQ(fault_->geometry().size_bytes, kSize);
}

TEST_F(FaultCacheTest, WritesAreSeenButNotThereBeforeAFlush) {
  EXPECT_TRUE(write(2, 3, 'a').ok());
  EXPECT_EQ(read(0, 8), "..aaa...");
  EXPECT_EQ(on_disk(0, 8), "........");
  EXPECT_TRUE(write(4, 2, 'b').ok());
  EXPECT_EQ(read(2, 3), "aab");
  EXPECT_EQ(read(3, 2), "ab");
  EXPECT_TRUE(run(Op::flush).ok());
  EXPECT_EQ(on_disk(0, 8), "..aabb..");
  EXPECT_EQ(read(0, 8), "..aabb..");
}

TEST_F(FaultCacheTest, FuaMakesItsOwnBlocksDurableAndNoOthers) {
  EXPECT_TRUE(write(0, 4, 'a').ok());
  EXPECT_TRUE(write(2, 1, 'f', true).ok());
  EXPECT_EQ(on_disk(0, 4), "..f.");
  EXPECT_EQ(read(0, 4), "aafa");
  Request& zeroes = tag_.make(Op::write_zeroes, 2 * kBlock, kBlock);
  zeroes.fua = true;
  EXPECT_TRUE(run(zeroes).ok());
  EXPECT_EQ(on_disk(0, 4), "....");
  EXPECT_EQ(read(0, 4), "aa.a");
}

TEST_F(FaultCacheTest, FuaIsFuaForTheChild) {
  Request& request = tag_.make(Op::write, 0, std::span(memory_).first(kBlock));
  request.fua = true;
  Task task = fault_->submit(request);
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).rw_flags, RWF_DSYNC);
  ring_.perform_all();
  EXPECT_TRUE(task.finished());
}

TEST_F(FaultCacheTest, WithoutFuaADurableWriteFlushesEverything) {
  open({.volatile_cache = true, .fua = false});
  EXPECT_TRUE(write(0, 4, 'a').ok());
  EXPECT_TRUE(write(2, 1, 'f', true).ok());
  EXPECT_EQ(on_disk(0, 4), "aafa");
}

TEST_F(FaultCacheTest, APowerCutLosesWhatWasNotFlushed) {
  EXPECT_TRUE(write(0, 4, 'a').ok());
  EXPECT_TRUE(run(Op::flush).ok());
  EXPECT_TRUE(write(2, 4, 'b').ok());
  EXPECT_TRUE(write(7, 1, 'c', true).ok());
  fault_->power_cut();
  EXPECT_EQ(read(0, 8), "error");
  EXPECT_EQ(write(0, 1, 'd').error(), EIO);
  EXPECT_EQ(run(Op::flush).error(), EIO);
  open({.volatile_cache = true});
  EXPECT_EQ(read(0, 8), "aaaa...c");
}

TEST_F(FaultCacheTest, ZeroesAndDiscardsWaitLikeWrites) {
  EXPECT_TRUE(write(0, 8, 'a').ok());
  EXPECT_TRUE(run(Op::flush).ok());
  EXPECT_TRUE(run(Op::write_zeroes, 1, 2).ok());
  EXPECT_TRUE(run(Op::discard, 5, 2).ok());
  EXPECT_EQ(read(0, 8), "a..aa..a");
  EXPECT_EQ(on_disk(0, 8), "aaaaaaaa");
  EXPECT_TRUE(write(2, 1, 'b').ok());
  EXPECT_TRUE(run(Op::flush).ok());
  EXPECT_EQ(on_disk(0, 8), "a.baa..a");
}

TEST_F(FaultCacheTest, AWriteDuringAFlushStaysForTheNext) {
  EXPECT_TRUE(write(0, 1, 'a').ok());
  TestTag flush_tag(ring_);
  Task flush = fault_->submit(flush_tag.make(Op::flush, 0, uint64_t{0}));
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 1U);
  ASSERT_EQ(ring_.sqe(0).opcode, IORING_OP_WRITE);
  std::ranges::fill(memory_, std::byte{'b'});
  Task write = fault_->submit(tag_.make(Op::write, 0, std::span(memory_).first(kBlock)));
  ring_.settle();
  EXPECT_TRUE(write.finished()) << "nobody waits for a flush but those who must";
  TestTag second_tag(ring_);
  Task second = fault_->submit(second_tag.make(Op::flush, 0, uint64_t{0}));
  ring_.settle();
  EXPECT_EQ(ring_.pending(), 1U) << "a newer version of a block may not overtake an older one";
  ring_.perform(0);
  EXPECT_EQ(on_disk(0, 1), "a");
  ring_.perform_all();
  EXPECT_TRUE(flush.status().ok());
  EXPECT_TRUE(second.status().ok());
  EXPECT_EQ(on_disk(0, 1), "b");
}

// Otherwise the flush would write the block back first, without durability, and leave nothing to
// do.
TEST_F(FaultCacheTest, AFuaWriteDuringAFlushWaitsForIt) {
  EXPECT_TRUE(write(0, 1, 'a').ok());
  EXPECT_TRUE(write(4, 1, 'b').ok());
  TestTag flush_tag(ring_);
  Task flush = fault_->submit(flush_tag.make(Op::flush, 0, uint64_t{0}));
  ring_.settle();
  Request& request = tag_.make(Op::write, 4 * kBlock, std::span(memory_).first(kBlock));
  request.fua = true;
  Task write = fault_->submit(request);
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 1U);
  ring_.perform(0);
  ASSERT_EQ(ring_.pending(), 1U);
  ring_.perform(0);
  ASSERT_EQ(ring_.pending(), 2U) << "the fdatasync of the flush, and the durable write";
  EXPECT_EQ(ring_.sqe(1).rw_flags, RWF_DSYNC);
  ring_.perform_all();
  EXPECT_TRUE(flush.status().ok());
  EXPECT_TRUE(write.status().ok());
}

TEST_F(FaultCacheTest, AReadDuringAFlushMissesNothing) {
  EXPECT_TRUE(write(1, 1, 'a').ok());
  std::vector<std::byte> memory(4 * kBlock);
  Task read = fault_->submit(tag_.make(Op::read, 0, memory));
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 1U);
  const io_uring_sqe before = ring_.sqe(0);
  TestTag flush_tag(ring_);
  Task flush = fault_->submit(flush_tag.make(Op::flush, 0, uint64_t{0}));
  ring_.settle();
  while (ring_.pending() != 1) ring_.perform(ring_.pending() - 1);
  EXPECT_TRUE(flush.finished());
  ASSERT_EQ(ring_.sqe(0).user_data, before.user_data);
  // As if the read of the child had come before the flush.
  std::ranges::fill(memory, std::byte{0});
  ring_.complete(0, 4 * kBlock);
  EXPECT_TRUE(read.status().ok());
  EXPECT_EQ(letters(memory), ".a..");
}

TEST_F(FaultCacheTest, AFailedFlushKeepsWhatItCouldNotWrite) {
  EXPECT_TRUE(write(0, 2, 'a').ok());
  {
    Task flush = fault_->submit(tag_.make(Op::flush, 0, uint64_t{0}));
    ring_.settle();
    ring_.complete(0, -ENOSPC);
    ASSERT_TRUE(flush.finished());
    EXPECT_EQ(flush.status().error(), ENOSPC);
  }
  EXPECT_EQ(read(0, 2), "aa");
  EXPECT_TRUE(run(Op::flush).ok());
  EXPECT_EQ(on_disk(0, 2), "aa");
}

TEST_F(FaultCacheTest, AFlushDuringThePowerCutIsNotAcknowledged) {
  EXPECT_TRUE(write(0, 2, 'a').ok());
  EXPECT_TRUE(write(4, 2, 'b').ok());
  Task flush = fault_->submit(tag_.make(Op::flush, 0, uint64_t{0}));
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 1U);
  fault_->power_cut();
  ring_.perform_all();
  EXPECT_EQ(flush.status().error(), EIO);
  EXPECT_EQ(on_disk(0, 6), "aa....") << "what was on its way arrives, what was not does not";
}

TEST_F(FaultCacheTest, AFullCacheWritesBack) {
  open({.volatile_cache = true, .cache_bytes = 8 * kBlock});
  EXPECT_TRUE(write(0, 8, 'a').ok());
  EXPECT_EQ(on_disk(0, 9), ".........");
  EXPECT_TRUE(write(8, 1, 'b').ok());
  EXPECT_EQ(on_disk(0, 9), "aaaaaaaab");
}

TEST_F(FaultCacheTest, LargeRequestsAreCut) {
  EXPECT_TRUE(write(0, 256, 'a').ok());
  EXPECT_TRUE(run(Op::discard, 128, 128).ok());
  EXPECT_TRUE(run(Op::flush).ok());
  EXPECT_EQ(on_disk(0, 256), std::string(128, 'a') + std::string(128, '.'));
}

// Every block is either old or new; over some rounds the same block is both.
TEST_F(FaultCacheTest, TornWritesReachTheDiskInPart) {
  std::string seen_old;
  std::string seen_new;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    open({.volatile_cache = true, .torn = true, .seed = seed});
    EXPECT_TRUE(write(0, 8, 'o').ok());
    EXPECT_TRUE(run(Op::flush).ok());
    for (uint64_t block = 0; block < 8; block += 4) EXPECT_TRUE(write(block, 4, 'n').ok());
    EXPECT_EQ(read(0, 8), "nnnnnnnn");
    fault_->power_cut();
    const std::string disk = on_disk(0, 8);
    EXPECT_EQ(disk.find_first_not_of("on"), std::string::npos) << disk;
    if (disk.contains('o') && disk.contains('n')) {
      seen_old += disk[3];
      seen_new += disk[4];
    }
  }
  EXPECT_GT(seen_old.size(), 10U) << "most cuts tear something";
  EXPECT_TRUE(seen_old.contains('o') && seen_old.contains('n'));
  EXPECT_TRUE(seen_new.contains('o') && seen_new.contains('n'));
}

}  // namespace
}  // namespace sluice::test
