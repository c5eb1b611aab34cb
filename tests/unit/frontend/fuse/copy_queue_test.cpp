// The life of requests in a CopyQueue: who reads, what is answered, how it ends.
#include "frontend/fuse/copy_queue.hpp"

#include "unit/frontend/fuse/fake_device.hpp"

namespace sluice::test {
namespace {

class FuseCopyQueue : public FakeDevice {};

TEST_F(FuseCopyQueue, OneTagReadsWhileThereIsNothingToDo) {
  EXPECT_EQ(count(IORING_OP_READ, kDevice), 1U);
}

TEST_F(FuseCopyQueue, AnotherTagReadsWhileOneServes) {
  deliver(make_frame(FUSE_READ, 1, read_arguments(0, 4096)));
  EXPECT_EQ(count(IORING_OP_READ, kDevice), 1U);
  EXPECT_EQ(count(IORING_OP_READ, file_descriptor_), 1U);
  deliver(make_frame(FUSE_READ, 1, read_arguments(4096, 4096)));
  EXPECT_EQ(count(IORING_OP_READ, kDevice), 2U) << "as many as there are requests";
}

TEST_F(FuseCopyQueue, NobodyReadsWhenEveryTagServes) {
  for (uint64_t i = 0; i < 4; ++i) {
    deliver(make_frame(FUSE_READ, 1, read_arguments(4096 * i, 4096), {}, i));
  }
  EXPECT_EQ(count(IORING_OP_READ, kDevice), 0U);
  perform_on_file();
  EXPECT_TRUE(take_reply());
  EXPECT_GE(count(IORING_OP_READ, kDevice), 1U);
  while (take_reply()) {
  }
}

TEST_F(FuseCopyQueue, AnswersInTheOrderInWhichTheStackDoes) {
  deliver(make_frame(FUSE_READ, 1, read_arguments(0, 4096), {}, 11));
  deliver(make_frame(FUSE_GETATTR, 1, bytes_of(fuse_getattr_in{}), {}, 12));
  EXPECT_EQ(take_reply()->unique, 12U);
  perform_on_file();
  EXPECT_EQ(take_reply()->unique, 11U);
}

TEST_F(FuseCopyQueue, ABufferIsNotReadIntoBeforeItsAnswerIsOut) {
  deliver(make_frame(FUSE_READ, 1, read_arguments(0, 4096)));
  perform_on_file();
  const uint64_t answer = ring_.sqe(*find(IORING_OP_WRITE, kDevice)).addr;
  for (size_t i = 0; i < ring_.pending(); ++i) {
    const io_uring_sqe& sqe = ring_.sqe(i);
    if (sqe.opcode == IORING_OP_READ)
      EXPECT_GT(std::max<uint64_t>(sqe.addr, answer) - std::min<uint64_t>(sqe.addr, answer),
                kMaxIo);
  }
  EXPECT_TRUE(take_reply());
}

class LinkingFuseCopyQueue : public FakeDevice {
 protected:
  LinkingFuseCopyQueue() { link_ = true; }

  // The one operation is done; the kernel goes on with the answer.
  void complete_link(uint8_t opcode) {
    const auto leader = find(opcode, file_descriptor_);
    ASSERT_TRUE(leader);
    EXPECT_NE(ring_.sqe(*leader).flags & IOSQE_IO_LINK, 0);
    ring_.perform(*leader);
  }
};

TEST_F(LinkingFuseCopyQueue, TheKernelAnswersAReadByItself) {
  fill_file(0, 4096, 5);
  deliver(make_frame(FUSE_READ, 1, read_arguments(0, 4096)));
  complete_link(IORING_OP_READ);
  EXPECT_EQ(take_reply()->body, Bytes(4096, std::byte{5}));
  EXPECT_FALSE(take_reply()) << "once is enough";
  EXPECT_EQ(queue_->counters().requests[static_cast<size_t>(Op::read)], 1U);
}

TEST_F(LinkingFuseCopyQueue, TheAnswerToAWriteDoesNotTouchItsData) {
  const Bytes data(4096, std::byte{6});
  deliver(make_frame(FUSE_WRITE, 1, write_arguments(8192, 4096), data));
  complete_link(IORING_OP_WRITE);
  EXPECT_EQ(value_in<fuse_write_out>(take_reply()->body).size, 4096U);
  EXPECT_EQ(file_bytes(8192, 4096), data);
}

TEST_F(LinkingFuseCopyQueue, WhatIsNotWholeBlocksIsAnsweredAfterwards) {
  deliver(make_frame(FUSE_READ, 1, read_arguments(100, 100)));
  EXPECT_FALSE(find(IORING_OP_WRITE, kDevice));
  perform_on_file();
  EXPECT_EQ(take_reply()->body.size(), 100U);
}

TEST_F(LinkingFuseCopyQueue, AFailureIsAnsweredAfterwards) {
  deliver(make_frame(FUSE_READ, 1, read_arguments(0, 4096)));
  ring_.complete(*find(IORING_OP_READ, file_descriptor_), -EIO);
  EXPECT_EQ(take_reply()->error, EIO);
  EXPECT_FALSE(take_reply());
}

TEST_F(FuseCopyQueue, SaysNothingToWhoDoesNotWait) {
  deliver(make_frame(FUSE_FORGET, 1, bytes_of(fuse_forget_in{.nlookup = 1})));
  deliver(make_frame(FUSE_INTERRUPT, 0, bytes_of(fuse_interrupt_in{.unique = 3})));
  EXPECT_FALSE(take_reply());
  EXPECT_EQ(ask(make_frame(FUSE_GETATTR, 1, bytes_of(fuse_getattr_in{}))).error, 0);
}

TEST_F(FuseCopyQueue, ReadsAgainAfterWhatIsPassing) {
  for (const int error : {EINTR, EAGAIN, ENOENT}) {
    fail_reading(error);
    EXPECT_EQ(count(IORING_OP_READ, kDevice), 1U);
  }
  EXPECT_FALSE(finished_);
}

TEST_F(FuseCopyQueue, SkipsWhatIsNoRequest) {
  deliver(Bytes(17));
  EXPECT_EQ(ask(make_frame(FUSE_STATFS, 1)).error, 0);
}

TEST_F(FuseCopyQueue, AnAnswerThatNobodyWaitsForAnyMoreIsForgotten) {
  deliver(make_frame(FUSE_STATFS, 1));
  ring_.complete(*find(IORING_OP_WRITE, kDevice), -ENOENT);
  EXPECT_EQ(ask(make_frame(FUSE_STATFS, 1)).error, 0);
}

TEST_F(FuseCopyQueue, IsFinishedWhenTheFileSystemIsGone) {
  fail_reading(ENODEV);
  EXPECT_TRUE(finished_);
}

TEST_F(FuseCopyQueue, AnswersWhatItHasBeforeItStops) {
  deliver(make_frame(FUSE_READ, 1, read_arguments(0, 4096), {}, 5));
  queue_->stop();
  ring_.settle();
  ring_.perform(*find(IORING_OP_ASYNC_CANCEL, -1));
  EXPECT_EQ(count(IORING_OP_READ, kDevice), 0U);
  EXPECT_FALSE(finished_);
  perform_on_file();
  EXPECT_EQ(take_reply()->unique, 5U);
  EXPECT_TRUE(finished_);
}

TEST_F(FuseCopyQueue, Counts) {
  ask(make_frame(FUSE_READ, 1, read_arguments(0, 4096)));
  ask(make_frame(FUSE_READ, 2, read_arguments(0, 4096)));
  ask(make_frame(FUSE_GETATTR, 1, bytes_of(fuse_getattr_in{})));
  const QueueCounters& counters = queue_->counters();
  EXPECT_EQ(counters.requests[static_cast<size_t>(Op::read)], 2U);
  EXPECT_EQ(counters.errors, 1U);
  EXPECT_EQ(counters.copied_bytes, 4096U);
}

}  // namespace
}  // namespace sluice::test
