// The life of requests in a CopyQueue: reading from the device, answers, and the end of the queue.
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
  const io_uring_sqe answer = ring_.sqe(*find(IORING_OP_WRITE, kDevice));
  ASSERT_NE(count(IORING_OP_READ, kDevice), 0U);
  for (size_t i = 0; i < ring_.pending(); ++i) {
    const io_uring_sqe& sqe = ring_.sqe(i);
    if (sqe.opcode != IORING_OP_READ) continue;
    EXPECT_TRUE(sqe.addr >= answer.addr + answer.len || sqe.addr + sqe.len <= answer.addr);
  }
  EXPECT_TRUE(take_reply());
}

class LinkingFuseCopyQueue : public FakeDevice {
 protected:
  LinkingFuseCopyQueue() { link_ = true; }

  // Completes the one operation, after which the kernel writes the linked answer.
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

// --- The reserve. The smallest one has room for one tag that reads, and 16 more pages.

TEST_F(FuseCopyQueue, SmallRequestsLieSideBySide) {
  start({}, 64, 0);
  size_t served = 0;
  for (; find(IORING_OP_READ, kDevice) && served < 64; ++served) {
    fill_file(4096 * served, 4096, static_cast<int>(served));
    deliver(make_frame(FUSE_READ, 1, read_arguments(4096 * served, 4096), {}, served));
  }
  EXPECT_GE(served, 9U);
  EXPECT_LT(served, 64U) << "there is an end to it";
  perform_on_file();
  for (size_t i = 0; i < served; ++i) {
    const auto reply = take_reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->body, Bytes(4096, static_cast<std::byte>(reply->unique)));
  }
  EXPECT_TRUE(find(IORING_OP_READ, kDevice));
}

TEST_F(FuseCopyQueue, WritesKeepTheirBytesWhereverTheyMove) {
  start({}, 64);
  for (uint64_t i = 0; i < 32; ++i) {
    const Bytes data(700, static_cast<std::byte>(i + 1));
    deliver(make_frame(FUSE_WRITE, 1, write_arguments(1000 * i, 700), data, i));
  }
  do {
    perform_on_file();
  } while (take_reply());
  for (uint64_t i = 0; i < 32; ++i) {
    EXPECT_EQ(file_bytes(1000 * i, 700), Bytes(700, static_cast<std::byte>(i + 1))) << i;
  }
}

TEST_F(FuseCopyQueue, NobodyReadsBeforeThereIsRoomForTheLargestRequest) {
  start({}, 64, 0);
  const Bytes data(kMaxIo, std::byte{7});
  deliver(make_frame(FUSE_WRITE, 1, write_arguments(0, kMaxIo), data, 1));
  EXPECT_FALSE(find(IORING_OP_READ, kDevice));
  perform_on_file();
  EXPECT_TRUE(take_reply());
  EXPECT_EQ(count(IORING_OP_READ, kDevice), 1U);
  EXPECT_EQ(file_bytes(0, kMaxIo), data);
}

TEST_F(FuseCopyQueue, WhoWaitsForRoomStopsToo) {
  start({}, 4, 0);
  deliver(make_frame(FUSE_WRITE, 1, write_arguments(0, kMaxIo), Bytes(kMaxIo), 1));
  queue_->stop();
  ring_.settle();
  EXPECT_FALSE(finished_);
  perform_on_file();
  EXPECT_TRUE(take_reply());
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
