// Blocks of 512 bytes on a child with blocks of 4096: the requests to the child, their order, and
// the interaction of neighbours. The test makes the completions.
#include "target/file/fine_blocks.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "ring/abi.hpp"
#include "support/fan_out.hpp"
#include "support/manual_ring.hpp"
#include "support/member_target.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;

constexpr uint64_t kCoarse = 4096;
constexpr uint64_t kFileBytes = 1 << 20;

// The file access of an SQE.
struct FileAccess {
  int opcode;
  uint64_t offset;
  uint64_t length;
  bool operator==(const FileAccess&) const = default;
};
void PrintTo(const FileAccess& access, std::ostream* out) {
  *out << "{" << access.opcode << ", " << access.offset << ", " << access.length << "}";
}

class FineBlocksTest : public testing::Test {
 protected:
  FineBlocksTest() {
    file_ = Descriptor(memfd_create("fine", MFD_CLOEXEC));
    const std::vector<std::byte> old(kFileBytes, std::byte{'o'});
    EXPECT_EQ(pwrite(file_.number(), old.data(), old.size(), 0), static_cast<ssize_t>(kFileBytes));
    ring_.set_file(0, file_.number());
    make({.size_bytes = kFileBytes});
  }

  void make(const FineBlocks::Shape& shape, uint32_t memory_alignment = 1) {
    auto member = std::make_unique<Member>(file_.number(), kFileBytes);
    member->shape().logical_block_bytes = kCoarse;
    member->shape().physical_block_bytes = kCoarse;
    member->shape().memory_alignment_bytes = memory_alignment;
    target_ = std::make_unique<FineBlocks>(std::move(member), shape);
  }

  struct Running {
    explicit Running(Ring& ring, size_t bytes, int fill) : tag(ring), block(bytes, fill) {}
    TestTag tag;
    Block block;
    std::optional<Task> task;
    bool finished() const { return task->finished(); }
    int error() const { return task->status().error(); }
  };
  Running& start(Op op, uint64_t offset, uint64_t length, int fill = 'n', bool fua = false) {
    Running& running =
        running_.emplace_back(ring_, op == Op::read || op == Op::write ? length : 0, fill);
    Request& request = op == Op::read || op == Op::write
                           ? running.tag.make(op, offset, running.block.bytes())
                           : running.tag.make(op, offset, length);
    request.fua = fua;
    running.task.emplace(target_->submit(request));
    ring_.settle();
    return running;
  }

  std::vector<FileAccess> accesses() const {
    std::vector<FileAccess> found;
    for (size_t i = 0; i < ring_.pending(); ++i) {
      const io_uring_sqe& sqe = ring_.sqe(i);
      const bool allocates = sqe.opcode == IORING_OP_FALLOCATE;
      found.push_back(
          {.opcode = sqe.opcode, .offset = sqe.off, .length = allocates ? sqe.addr : sqe.len});
    }
    return found;
  }

  // "o" for old bytes, 512 for each letter.
  std::string sectors(uint64_t first, uint64_t count) const {
    std::string bytes(count * 512, '?');
    EXPECT_EQ(pread(file_.number(), bytes.data(), bytes.size(), static_cast<off_t>(first * 512)),
              static_cast<ssize_t>(bytes.size()));
    std::string found;
    for (uint64_t i = 0; i < count; ++i) {
      const std::string sector = bytes.substr(i * 512, 512);
      const bool is_one = sector == std::string(512, sector[0]);
      found += !is_one ? '!' : sector[0] == 0 ? '0' : sector[0];
    }
    return found;
  }

  void TearDown() override {
    for (Running& running : running_) {
      ASSERT_TRUE(running.finished());
      running.task.reset();
      running.tag.finish();
      EXPECT_EQ(running.tag.arena.overflows(), 0U);
      EXPECT_EQ(running.tag.loan.references(), 0U);
    }
  }

  Descriptor file_;
  ManualRing ring_;
  std::unique_ptr<FineBlocks> target_;
  std::deque<Running> running_;
};

constexpr int kRead = IORING_OP_READ;
constexpr int kWrite = IORING_OP_WRITE;

TEST_F(FineBlocksTest, SaysWhatItIs) {
  const Geometry& geometry = target_->geometry();
  EXPECT_EQ(geometry.logical_block_bytes, 512U);
  EXPECT_EQ(geometry.physical_block_bytes, 4096U) << "what is smaller is read first, and may tear";
  EXPECT_EQ(geometry.size_bytes, kFileBytes);
  EXPECT_GE(geometry.discard_granularity_bytes, 4096U);
  EXPECT_TRUE(geometry.volatile_cache);
  EXPECT_FALSE(target_->may_link());
  make({.begin_bytes = 512, .size_bytes = 8192});
  EXPECT_EQ(target_->geometry().physical_block_bytes, 512U);
}

TEST_F(FineBlocksTest, WholeBlocksGoStraightThere) {
  const Running& reading = start(Op::read, 4096, 8192);
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kRead, 4096, 8192}));
  EXPECT_EQ(ring_.sqe(0).addr, reinterpret_cast<uint64_t>(reading.block.bytes().data()));
  ring_.perform_all();
  EXPECT_TRUE(reading.block.all('o'));
  const Running& writing = start(Op::write, 4096, 8192);
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kWrite, 4096, 8192}));
  EXPECT_EQ(ring_.sqe(0).addr, reinterpret_cast<uint64_t>(writing.block.bytes().data()));
  ring_.perform_all();
  EXPECT_EQ(sectors(7, 18), "onnnnnnnnnnnnnnnno");
  start(Op::flush, 0, 0);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_FSYNC);
  ring_.perform_all();
}

TEST_F(FineBlocksTest, APartOfABlockIsReadFromIt) {
  const std::string text(512, 't');
  ASSERT_EQ(pwrite(file_.number(), text.data(), 512, 4096 + 1024), 512);
  const Running& reading = start(Op::read, 4096 + 1024, 512, 'x');
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kRead, 4096, 4096}));
  ring_.perform_all();
  EXPECT_TRUE(reading.block.all('t'));
}

TEST_F(FineBlocksTest, ALongReadIsItsEdgesAndWhatIsBetween) {
  const Running& reading = start(Op::read, 3584, 512 + 8192 + 1024, 'x');
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kRead, 0, 4096}));
  ring_.perform(0);
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kRead, 4096, 8192}));
  ring_.perform(0);
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kRead, 12288, 4096}));
  ring_.perform(0);
  ASSERT_TRUE(reading.finished());
  EXPECT_TRUE(reading.block.all('o'));
}

TEST_F(FineBlocksTest, APartOfABlockIsWrittenWithTheRestOfIt) {
  const Running& writing = start(Op::write, 4096 + 512, 1024);
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kRead, 4096, 4096}));
  ring_.perform(0);
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kWrite, 4096, 4096}));
  EXPECT_EQ(ring_.sqe(0).rw_flags, 0);
  ring_.perform(0);
  ASSERT_TRUE(writing.finished());
  EXPECT_EQ(sectors(8, 8), "onnooooo");
}

TEST_F(FineBlocksTest, ADurableWriteIsDurableInAllItsPieces) {
  start(Op::write, 3584, 512 + 4096 + 512, 'n', /*fua=*/true);
  for (const int opcode : {kRead, kWrite, kWrite, kRead, kWrite}) {
    ASSERT_EQ(ring_.pending(), 1U);
    EXPECT_EQ(ring_.sqe(0).opcode, opcode);
    EXPECT_EQ(ring_.sqe(0).rw_flags, opcode == kWrite ? RWF_DSYNC : 0);
    ring_.perform(0);
  }
  EXPECT_EQ(sectors(6, 12), "onnnnnnnnnno");
}

TEST_F(FineBlocksTest, ZeroesAreWrittenAtTheEdgesAndDiscardsLeaveThem) {
  start(Op::write_zeroes, 3584, 512 + 4096 + 512, 0, /*fua=*/true);
  ring_.perform(0);
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kWrite, 0, 4096}));
  EXPECT_EQ(ring_.sqe(0).rw_flags, RWF_DSYNC);
  ring_.perform(0);
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{IORING_OP_FALLOCATE, 4096, 4096}));
  ring_.perform_all();
  EXPECT_EQ(sectors(6, 12), "o0000000000o");
  start(Op::discard, 512, 3 * 4096);
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{IORING_OP_FALLOCATE, 4096, 8192}));
  ring_.perform_all();
  const Running& nothing = start(Op::discard, 512, 4096);
  EXPECT_EQ(ring_.pending(), 0U);
  EXPECT_EQ(nothing.error(), 0);
}

// Writes to parts of one block, then to all of it: each later request sees the earlier writes.
TEST_F(FineBlocksTest, NeighboursInABlockWaitForEachOther) {
  start(Op::write, 4096, 512, 'a');
  const Running& second = start(Op::write, 4096 + 512, 512, 'b');
  const Running& third = start(Op::write, 4096 + 1024, 512, 'c');
  EXPECT_EQ(ring_.pending(), 1U) << "only the first one reads";
  ring_.perform_all();
  EXPECT_TRUE(second.finished() && third.finished());
  EXPECT_EQ(sectors(8, 4), "abco");

  start(Op::write, 4096 + 2048, 512, 'd');
  const Running& whole = start(Op::write, 4096, 4096, 'w');
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kRead, 4096, 4096}))
      << "or the old bytes come back";
  ring_.perform_all();
  EXPECT_TRUE(whole.finished());
  EXPECT_EQ(sectors(8, 8), "wwwwwwww");

  start(Op::write, 4096, 4096, 'x');
  start(Op::write, 4096 + 512, 512, 'y');
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kWrite, 4096, 4096}));
  ring_.perform_all();
  EXPECT_EQ(sectors(8, 8), "xyxxxxxx");

  start(Op::discard, 4096, 4096);
  start(Op::write, 4096 + 512, 512, 'z');
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{IORING_OP_FALLOCATE, 4096, 4096}));
  ring_.perform_all();
  EXPECT_EQ(sectors(8, 3), "0z0");
}

TEST_F(FineBlocksTest, OthersDoNotWait) {
  start(Op::write, 4096, 512, 'a');
  start(Op::write, 2 * 4096, 512, 'b');
  start(Op::write, 3 * 4096, 4096, 'c');
  start(Op::read, 4096, 4096);
  EXPECT_EQ(ring_.pending(), 4U);
  ring_.perform_all();
  EXPECT_EQ(sectors(8, 24), "aooooooobooooooocccccccc");
}

// Every order in which two writes that share a block, and one that does not, can end.
TEST_F(FineBlocksTest, InEveryOrderAllOfItIsThere) {
  const auto finished = [](const Running& running) { return running.finished(); };
  for (unsigned choices = 0; choices < 3 * 3 * 3 * 3 * 3 * 3; ++choices) {
    const std::string old(3 * 4096, 'o');
    ASSERT_EQ(pwrite(file_.number(), old.data(), old.size(), 0), 3 * 4096);
    const size_t before = running_.size();
    start(Op::write, 3584, 1024, 'a');        // the end of block 0, the beginning of block 1
    start(Op::write, 4096 + 512, 3072, 'b');  // the middle of block 1
    start(Op::write, 7680, 1024, 'c');        // the end of block 1, the beginning of block 2
    for (unsigned left = choices; ring_.pending() != 0; left /= 3) {
      ring_.perform(left % 3 % ring_.pending());
    }
    ASSERT_TRUE(
        std::all_of(running_.begin() + static_cast<long>(before), running_.end(), finished));
    ASSERT_EQ(sectors(0, 24), "oooooooaabbbbbbccooooooo") << choices;
  }
}

// Several requests need the same desk.
TEST_F(FineBlocksTest, WhoFindsTheDeskTakenWaits) {
  make({.size_bytes = kFileBytes});
  constexpr uint64_t kSameDesk = 32 * kCoarse;
  const Running& first = start(Op::read, 512, 512, 'x');
  const Running& second = start(Op::write, kSameDesk + 512, 512, 's');
  const Running& third = start(Op::read, 2 * kSameDesk + 512, 512, 'x');
  EXPECT_EQ(ring_.pending(), 1U);
  ring_.perform_all();
  EXPECT_TRUE(first.block.all('o') && third.block.all('o'));
  EXPECT_EQ(second.error(), 0);
  EXPECT_EQ(sectors(kSameDesk / 512, 3), "oso");
}

TEST_F(FineBlocksTest, MemoryThatDirectIoRefusesGoesThroughDesks) {
  make({.size_bytes = kFileBytes}, /*memory_alignment=*/4096);
  const Running& reading = start(Op::read, 3584, 512 + 8192, 'x');
  for (const uint64_t block : {0U, 4096U, 8192U}) {
    EXPECT_THAT(accesses(), ElementsAre(FileAccess{kRead, block, 4096}));
    EXPECT_EQ(ring_.sqe(0).addr % 4096, 0U);
    ring_.perform(0);
  }
  EXPECT_TRUE(reading.block.all('o'));
  start(Op::write, 3584, 512 + 8192);
  ring_.perform_all();
  EXPECT_EQ(sectors(6, 19), "onnnnnnnnnnnnnnnnno");
}

// The alignment of pages in the ring's buffer table is unknown.
TEST_F(FineBlocksTest, AfterARefusalBlocksAreCopied) {
  const Running& reading = start(Op::read, 4096, 8192, 'x');
  ring_.complete(0, -EINVAL);
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kRead, 4096, 4096}));
  ring_.perform_all();
  EXPECT_EQ(reading.error(), 0);
  EXPECT_TRUE(reading.block.all('o'));
  start(Op::write, 4096, 8192);
  ring_.complete(0, -EINVAL);
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kWrite, 4096, 4096}))
      << "a whole one needs no old bytes";
  ring_.perform_all();
  EXPECT_EQ(sectors(7, 18), "onnnnnnnnnnnnnnnno");
}

TEST_F(FineBlocksTest, AnErrorEndsItAndNothingElse) {
  const Running& unread = start(Op::read, 4096 + 512, 512);
  ring_.complete(0, -EIO);
  EXPECT_EQ(unread.error(), EIO);
  const Running& not_loaded = start(Op::write, 4096 + 512, 512);
  const Running& next = start(Op::write, 4096 + 1024, 512, 'm');
  ring_.complete(0, -EIO);
  EXPECT_EQ(not_loaded.error(), EIO);
  ring_.perform_all();
  EXPECT_EQ(next.error(), 0);
  EXPECT_EQ(sectors(8, 4), "oomo");
  const Running& not_stored = start(Op::write, 3584, 1024);
  ring_.perform(0);
  ring_.complete(0, -ENOSPC);
  EXPECT_EQ(not_stored.error(), ENOSPC);
  EXPECT_EQ(ring_.pending(), 0U) << "the second piece is not begun";
}

// A child that reports a successful read without filling the buffer.
TEST_F(FineBlocksTest, WhatWasNotFilledIsNotShown) {
  class Liar final : public Target {
   public:
    Liar() {
      geometry_.size_bytes = kFileBytes;
      geometry_.logical_block_bytes = kCoarse;
    }

   private:
    Task do_submit(Request&) override { return kOk; }
  };
  target_ = std::make_unique<FineBlocks>(std::make_unique<Liar>(),
                                         FineBlocks::Shape{.size_bytes = kFileBytes});
  const Running& reading = start(Op::read, 512, 512, 'x');
  EXPECT_EQ(reading.error(), EIO);
  EXPECT_EQ(reading.tag.loan.filled_bytes(), 0U);
  EXPECT_EQ(start(Op::write, 512, 512).error(), EIO);
}

TEST_F(FineBlocksTest, BeginsAnywhereInTheFile) {
  make({.begin_bytes = 512, .size_bytes = 8192 + 512});
  const Running& reading = start(Op::read, 0, 512, 'x');
  EXPECT_THAT(accesses(), ElementsAre(FileAccess{kRead, 0, 4096}));
  ring_.perform_all();
  EXPECT_TRUE(reading.block.all('o'));
  start(Op::write, 8192, 512);
  ring_.perform_all();
  EXPECT_EQ(sectors(16, 3), "ono");
  EXPECT_EQ(start(Op::read, 8192 + 512, 512).error(), EINVAL);
}

TEST_F(FineBlocksTest, GrowsWithItsChild) {
  class Fixed final : public Target {
   public:
    Fixed() {
      geometry_.size_bytes = 8192;
      geometry_.logical_block_bytes = kCoarse;
    }
    uint64_t available = 8192;

   private:
    Task do_submit(Request&) override { return kOk; }
    Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override {
      if (wanted && *wanted > available) return fail(ENOSPC, "full");
      return wanted ? *wanted : available;
    }
  };
  auto child = std::make_unique<Fixed>();
  Fixed& below = *child;
  FineBlocks fine(std::move(child), {.begin_bytes = 512, .size_bytes = 1024, .whole = true});
  EXPECT_EQ(fine.resize(8192 - 512).value_or(0), 8192U - 512) << "it is there already";
  EXPECT_FALSE(fine.resize(8192));
  below.available = 16384;
  EXPECT_EQ(fine.resize(8192).value_or(0), 8192U);
  EXPECT_EQ(below.geometry().size_bytes, 12288U) << "in whole blocks";
  EXPECT_EQ(fine.resize(std::nullopt).value_or(0), 16384U - 512);
}

}  // namespace
}  // namespace sluice::test
