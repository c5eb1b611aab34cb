// The SQEs of a loop target, on a ring whose completions the test makes.
#include <fcntl.h>
#include <linux/falloc.h>

#include "ring/abi.hpp"
#include "support/manual_ring.hpp"
#include "target/file/file_target.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kBegin = 4096;
constexpr uint32_t kPunchHole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr uint32_t kZeroRange = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

class LoopOnManualRing : public testing::Test {
 protected:
  LoopOnManualRing() {
    path_ = directory_.file("a.img", 1 << 20);
    stack_ = std::move(*open_stack("loop(" + path_ + ", offset=4k)"));
    ring_.set_file(0, stack_->files()[0]);
  }

  Task submit(Op op, uint64_t offset, uint64_t length) {
    return submit(tag_.make(op, offset, length));
  }
  Task submit(Request& request) {
    Task task = stack_->submit(request);
    ring_.settle();
    return task;
  }
  const io_uring_sqe& only_sqe() const {
    EXPECT_EQ(ring_.pending(), 1U);
    return ring_.sqe(0);
  }

  TempDir directory_;
  std::string path_;
  std::unique_ptr<Stack> stack_;
  ManualRing ring_;
  TestTag tag_{ring_};
  Block block_{8192, 'w'};
};

TEST_F(LoopOnManualRing, ReadsItsPartOfTheRegisteredFile) {
  Task task = submit(tag_.make(Op::read, 8192, block_.bytes()));
  EXPECT_EQ(only_sqe().opcode, IORING_OP_READ);
  EXPECT_EQ(only_sqe().fd, 0);
  EXPECT_NE(only_sqe().flags & IOSQE_FIXED_FILE, 0);
  EXPECT_EQ(only_sqe().off, kBegin + 8192);
  EXPECT_EQ(only_sqe().len, 8192U);
  EXPECT_EQ(only_sqe().addr, reinterpret_cast<uint64_t>(block_.bytes().data()));
  ring_.perform(0);
  ASSERT_TRUE(task.finished());
  EXPECT_TRUE(task.status().ok());
  EXPECT_TRUE(block_.all(0));
}

TEST_F(LoopOnManualRing, NamesTheBufferSlotOfPagesWithoutAnAddress) {
  ring_.set_buffer(3, block_.bytes());
  {
    Task reading = submit(tag_.make(Op::read, 0, block_.bytes(), 3));
    EXPECT_EQ(only_sqe().opcode, IORING_OP_READ_FIXED);
    EXPECT_EQ(only_sqe().buf_index, 3);
    EXPECT_EQ(only_sqe().addr, 0U);
    ring_.perform(0);
    EXPECT_TRUE(reading.status().ok());
  }
  Task writing = submit(tag_.make(Op::write, 0, block_.bytes(), 3));
  EXPECT_EQ(only_sqe().opcode, IORING_OP_WRITE_FIXED);
  ring_.perform(0);
  EXPECT_TRUE(writing.status().ok());
}

TEST_F(LoopOnManualRing, AsksForDurabilityOnlyWhereTheClientDoes) {
  {
    Task plain = submit(tag_.make(Op::write, 0, block_.bytes()));
    EXPECT_EQ(only_sqe().opcode, IORING_OP_WRITE);
    EXPECT_EQ(only_sqe().rw_flags, 0);
    ring_.perform(0);
    EXPECT_TRUE(plain.status().ok());
  }
  Request& request = tag_.make(Op::write, 0, block_.bytes());
  request.fua = true;
  Task durable = submit(request);
  EXPECT_EQ(only_sqe().rw_flags, RWF_DSYNC);
  ring_.perform(0);
  EXPECT_TRUE(durable.status().ok());
  EXPECT_EQ(ring_.pending(), 0U);
}

TEST_F(LoopOnManualRing, FlushIsFdatasync) {
  Task task = submit(Op::flush, 0, 0);
  EXPECT_EQ(only_sqe().opcode, IORING_OP_FSYNC);
  EXPECT_EQ(only_sqe().fsync_flags, IORING_FSYNC_DATASYNC);
  EXPECT_NE(only_sqe().flags & IOSQE_FIXED_FILE, 0);
  EXPECT_FALSE(task.finished());
  ring_.perform(0);
  EXPECT_TRUE(task.status().ok());
}

TEST_F(LoopOnManualRing, PiecesOfABufferAreOneVectoredOperation) {
  Request& request = tag_.make(Op::read, 0, block_.bytes());
  const Segment pieces[] = {{4096, 4096}, {0, 4096}};
  request.data = request.data.select(pieces, tag_.arena);
  Task task = submit(request);
  EXPECT_EQ(only_sqe().opcode, IORING_OP_READV);
  EXPECT_EQ(only_sqe().len, 2U);
  const auto* vectors = reinterpret_cast<const iovec*>(only_sqe().addr);
  EXPECT_EQ(vectors[0].iov_base, block_.bytes().data() + 4096);
  EXPECT_EQ(vectors[1].iov_base, block_.bytes().data());
  ring_.perform(0);
  EXPECT_TRUE(task.status().ok());
}

TEST_F(LoopOnManualRing, DiscardPunchesAHole) {
  Task task = submit(Op::discard, 4096, 8192);
  EXPECT_EQ(only_sqe().opcode, IORING_OP_FALLOCATE);
  EXPECT_EQ(only_sqe().len, kPunchHole);
  EXPECT_EQ(only_sqe().off, kBegin + 4096);
  EXPECT_EQ(only_sqe().addr, 8192U);
  ring_.perform(0);
  EXPECT_TRUE(task.status().ok());
}

TEST_F(LoopOnManualRing, DiscardThatTheFileSystemLacksIsNotTriedAgain) {
  {
    Task first = submit(Op::discard, 0, 4096);
    ring_.complete(0, -EOPNOTSUPP);
    EXPECT_EQ(first.status().error(), EOPNOTSUPP);
  }
  Task second = submit(Op::discard, 0, 4096);
  EXPECT_EQ(ring_.pending(), 0U);
  EXPECT_EQ(second.status().error(), EOPNOTSUPP);
}

TEST_F(LoopOnManualRing, WriteZeroesKeepsTheBlocksWhereTheyMustStay) {
  {
    Task freeing = submit(Op::write_zeroes, 0, 4096);
    EXPECT_EQ(only_sqe().len, kPunchHole);
    ring_.perform(0);
    EXPECT_TRUE(freeing.status().ok());
  }
  Request& request = tag_.make(Op::write_zeroes, 0, uint64_t{4096});
  request.may_unmap = false;
  Task keeping = submit(request);
  EXPECT_EQ(only_sqe().len, kZeroRange);
  ring_.complete(0, 0);  // not every file system of /tmp supports it
  EXPECT_TRUE(keeping.status().ok());
}

TEST_F(LoopOnManualRing, DurableWriteZeroesSyncsBeforeItIsDone) {
  Request& request = tag_.make(Op::write_zeroes, 0, uint64_t{4096});
  request.fua = true;
  Task task = submit(request);
  ring_.complete(0, 0);
  EXPECT_FALSE(task.finished());
  EXPECT_EQ(only_sqe().opcode, IORING_OP_FSYNC);
  ring_.complete(0, -ENOSPC);  // perhaps of earlier writes
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(task.status().error(), EIO);
}

TEST_F(LoopOnManualRing, WriteZeroesWritesThemWhereTheFileSystemHasNothingBetter) {
  {
    Request& request = tag_.make(Op::write_zeroes, 4096, uint64_t{8192});
    request.fua = true;
    Task task = submit(request);
    ring_.complete(0, -EOPNOTSUPP);
    EXPECT_EQ(only_sqe().len, kZeroRange);
    ring_.complete(0, -EOPNOTSUPP);
    EXPECT_EQ(only_sqe().opcode, IORING_OP_WRITE);
    EXPECT_EQ(only_sqe().off, kBegin + 4096);
    EXPECT_EQ(only_sqe().len, 8192U);
    EXPECT_EQ(only_sqe().rw_flags, RWF_DSYNC);
    ring_.complete(0, 8192);
    ASSERT_TRUE(task.finished());
    EXPECT_TRUE(task.status().ok());
  }
  Task again = submit(Op::write_zeroes, 0, 4096);
  EXPECT_EQ(only_sqe().opcode, IORING_OP_WRITE);
  ring_.complete(0, 4096);
  EXPECT_TRUE(again.status().ok());
}

TEST_F(LoopOnManualRing, AFileThatBecameShorterIsAnErrorAndNotZeroes) {
  const LogCapture log;
  {
    Task at_block = submit(tag_.make(Op::read, 0, block_.bytes()));
    ring_.complete(0, 4096);
    ring_.complete(0, 0);
    EXPECT_EQ(at_block.status().error(), EIO);
  }
  Task inside_block = submit(tag_.make(Op::read, 0, block_.bytes()));
  ring_.complete(0, 100);
  ring_.complete(0, -EINVAL);
  EXPECT_EQ(inside_block.status().error(), EIO);
  EXPECT_EQ(log.lines(), 1U) << log.text();
  EXPECT_NE(log.text().find("has become shorter"), std::string::npos) << log.text();
}

TEST_F(LoopOnManualRing, ErrorsPassThroughAndAreLoggedOnceEach) {
  const LogCapture log;
  for (const int error : {EIO, ENOSPC, EIO, EDQUOT, ENOSPC}) {
    Task task = submit(tag_.make(Op::write, 0, block_.bytes()));
    ring_.complete(0, -error);
    EXPECT_EQ(task.status().error(), error);
  }
  EXPECT_EQ(log.lines(), 3U) << log.text();
  stack_.reset();
  EXPECT_EQ(log.lines(), 5U) << log.text();
  EXPECT_NE(log.text().find("2 requests failed"), std::string::npos) << log.text();
}

// A simulated block device.
class BlockDeviceOnManualRing : public testing::Test {
 protected:
  Task submit(Op op) {
    Task task = target_.submit(tag_.make(op, 4096, uint64_t{8192}));
    ring_.settle();
    return task;
  }

  static Geometry geometry() {
    Geometry geometry;
    geometry.size_bytes = 1 << 20;
    geometry.can_discard = true;
    geometry.can_write_zeroes = true;
    return geometry;
  }

  ManualRing ring_;
  FileTarget target_{
      {.name = "device", .file = {.number = 0, .registered = true}, .block_device = true},
      geometry()};
  TestTag tag_{ring_};
};

TEST_F(BlockDeviceOnManualRing, DiscardIsTheCommandOfTheBlockLayer) {
  Task task = submit(Op::discard);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_URING_CMD);
  EXPECT_EQ(ring_.sqe(0).cmd_op, abi::kBlockUringCmdDiscard);
  EXPECT_EQ(ring_.sqe(0).addr, 4096U);
  EXPECT_EQ(ring_.sqe(0).addr3, 8192U);
  ring_.complete(0, 0);
  EXPECT_TRUE(task.status().ok());
}

TEST_F(BlockDeviceOnManualRing, DiscardFallsBackToAHoleOnAnOlderKernel) {
  {
    Task task = submit(Op::discard);
    ring_.complete(0, -EOPNOTSUPP);
    EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_FALLOCATE);
    ring_.complete(0, 0);
    EXPECT_TRUE(task.status().ok());
  }
  Task again = submit(Op::discard);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_FALLOCATE);
  ring_.complete(0, 0);
  EXPECT_TRUE(again.status().ok());
}

}  // namespace
}  // namespace sluice::test
