// READ_SPLICE_BUF and WRITE_SPLICE_BUF: S45 to S56.
#include "lend/splice_buf.hpp"

#include <thread>

#include "conformance/attempts.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint32_t kOldSegments = 254;  // a page of vectors, in the posted code
constexpr File kFile{.number = 5};

// Moves the bytes from `from` on to or from the same place of a file.
class SpliceBufs : public Attempts {
 public:
  explicit SpliceBufs(File file, uint32_t from = 0) : file_(file), from_(from) {}

  void move_on_other_thread() { prepares_elsewhere_ = true; }
  int64_t result() const { return result_; }

 protected:
  Task attempt(Request& request) override {
    lend::SpliceBufSqe sqe{.file = file_,
                           .offset = request.offset + from_,
                           .length = static_cast<uint32_t>(request.length) - from_,
                           .device = &provider(),
                           .position = lend::Provider::position(request, from_).pack()};
    request.op == Op::read ? prepare(reading_, sqe) : prepare(writing_, sqe);
    {
      Task running = request.op == Op::read ? reading_->run(request) : writing_->run(request);
      (void)co_await running;
    }
    result_ = request.op == Op::read ? reading_->result() : writing_->result();
    reading_.reset();
    writing_.reset();
    co_return kOk;
  }

 private:
  template <typename Command>
  void prepare(std::optional<Command>& command, const lend::SpliceBufSqe& sqe) const {
    if (!prepares_elsewhere_) {
      command.emplace(sqe);
      return;
    }
    std::thread([&] { command.emplace(sqe); }).join();
  }

  const File file_;
  const uint32_t from_;
  bool prepares_elsewhere_ = false;
  std::optional<lend::ReadSpliceBuf> reading_;
  std::optional<lend::WriteSpliceBuf> writing_;
  int64_t result_ = 0;
};

TEST_P(OnEachProvider, S45_S46_S53_OrdinaryIoOnTheNamedBuffer) {
  const Descriptor file = make_file(1 << 20, false);
  auto& server = serve_with<SpliceBufs>(as_file(file));
  memory(kBytes, true);
  ASSERT_EQ(write(8192, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_TRUE(has_pattern(contents(file, kBytes, 8192)));
  const auto back = memory(kBytes);
  ASSERT_EQ(read(8192, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_TRUE(has_pattern(back));
  EXPECT_EQ(copied_bytes(), 0U);
}

TEST_P(OnEachProvider, S45_ThePositionNamesAByteOfTheBuffer) {
  const Descriptor file = make_file(1 << 20, false);
  auto& server = serve_with<SpliceBufs>(as_file(file), 4608);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes - 4608);
  EXPECT_EQ(contents(file, 4608), std::vector<std::byte>(4608));
  EXPECT_TRUE(has_pattern(contents(file, kBytes - 4608, 4608), 4608));
}

TEST_P(OnEachProvider, S48_E_SpliceBuf_BadFile) {
  auto& server = serve_with<SpliceBufs>(File{.number = 1 << 20});
  memory(kBytes, true);
  EXPECT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), -EBADF);
  EXPECT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(), -EBADF);
  EXPECT_EQ(server.filled_bytes(), 0U);
}

TEST_P(OnEachProvider, S49_AnyThreadMayFetchNotOnlyTheQueues) {
  const Descriptor file = make_file(1 << 20, false);
  auto& server = serve_with<SpliceBufs>(as_file(file));
  server.move_on_other_thread();
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_TRUE(has_pattern(back));
}

TEST_P(OnEachProvider, S51_TheReferenceEndsWithTheCommand) {
  const Descriptor file = make_file(0, false);
  auto& server = serve_with<SpliceBufs>(as_file(file));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.references_left(), 2U);  // the front end's and the request's
  const auto back = memory(kBytes);
  ASSERT_EQ(read(1 << 20, kBytes), 0);  // fails: there is nothing to read
  EXPECT_EQ(server.references_left(), 2U);
  EXPECT_EQ(back[0], std::byte{0});
}

TEST_P(OnEachProvider, S53_AFileThatEndsGivesWhatItHasAndThenNothing) {
  const Descriptor file = make_file(100'000, true);
  auto& server = serve_with<SpliceBufs>(as_file(file));
  memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(), 100'000);
  EXPECT_EQ(server.filled_bytes(), 100'000U);
  ASSERT_EQ(read(1 << 20, kBytes), 0);
  EXPECT_EQ(server.result(), 0);
  EXPECT_EQ(server.filled_bytes(), 0U);
}

TEST_P(OnEachWithoutPipes, S56_P3_OneSubmissionForEachRequest) {
  const Descriptor file = make_file(1 << 20, false);
  auto& server = serve_with<SpliceBufs>(as_file(file));
  memory(512 * 1024, true);
  ASSERT_EQ(write(0, 512 * 1024), 0);
  EXPECT_EQ(server.submissions(), 1U);
  ASSERT_EQ(read(0, 512 * 1024), 0);
  EXPECT_EQ(server.submissions(), 1U);
}

// 254 segments are 1040384 bytes of single pages: what was longer ended there, without a word.
TEST(Rules, S50_MoreThanThe254SegmentsOfOldIsMovedWhole) {
  constexpr size_t kLong = 4 << 20;
  static_assert(kLong > kOldSegments * 4096);
  const Descriptor file = make_file(kLong, false);
  auto made = std::make_unique<SpliceBufs>(as_file(file));
  SpliceBufs& server = *made;
  Stack stack(std::move(made));
  auto device = direct::Device::create(stack, {.depth = 2});
  ASSERT_TRUE(device) << device.error().text;
  server.arm();
  const auto data = patterned(kLong);
  ASSERT_TRUE((*device)->write(0, data).ok());
  EXPECT_EQ(server.result(), int64_t{kLong});
  EXPECT_TRUE(has_pattern(contents(file, kLong)));
  std::vector<std::byte> back(kLong);
  ASSERT_TRUE((*device)->read(0, back).ok());
  EXPECT_EQ(server.result(), int64_t{kLong});
  EXPECT_TRUE(has_pattern(back));
}

lend::SpliceBufSqe whole(OneRequest& one) {
  return {.file = kFile,
          .length = static_cast<uint32_t>(one.memory.size()),
          .device = &one.provider,
          .position = one.at().pack()};
}

TEST(Rules, S45_RwFlagsAreThoseOfAWrite) {
  OneRequest one(Op::write, 4096);
  lend::SpliceBufSqe sqe = whole(one);
  sqe.rw_flags = RWF_DSYNC;
  lend::WriteSpliceBuf writing(sqe);
  const Task task = writing.run(one.request);
  one.ring.settle();
  EXPECT_EQ(one.ring.sqe(0).rw_flags, RWF_DSYNC);
  one.ring.complete(0, 4096);
  EXPECT_TRUE(task.status().ok());
}

template <typename Command>
int error_of(OneRequest& one, const lend::SpliceBufSqe& sqe) {
  Command command(sqe);
  const Task task = command.run(one.request);
  EXPECT_TRUE(one.untouched());
  EXPECT_EQ(command.moved_bytes(), 0U);
  EXPECT_EQ(command.result(), -task.status().error());
  return task.status().error();
}

TEST(Rules, S48_E_SpliceBuf_UnknownFlags) {
  OneRequest writes(Op::write, 4096);
  lend::SpliceBufSqe sqe = whole(writes);
  sqe.rw_flags = RWF_DSYNC | RWF_APPEND;
  EXPECT_EQ(error_of<lend::WriteSpliceBuf>(writes, sqe), EINVAL);
  OneRequest reads(Op::read, 4096);
  sqe = whole(reads);
  sqe.rw_flags = RWF_DSYNC;
  EXPECT_EQ(error_of<lend::ReadSpliceBuf>(reads, sqe), EINVAL);
}

TEST(Rules, S48_S52_E_SpliceBuf_WhatTheDeviceSays) {
  OneRequest one(Op::write, 4096);
  lend::SpliceBufSqe sqe = whole(one);
  sqe.device = nullptr;
  EXPECT_EQ(error_of<lend::WriteSpliceBuf>(one, sqe), EBADF);
  sqe = whole(one);
  sqe.position = lend::Position{.queue = 1}.pack();
  EXPECT_EQ(error_of<lend::WriteSpliceBuf>(one, sqe), EINVAL) << "no such queue";
  sqe.position = lend::Position{.tag = 4}.pack();
  EXPECT_EQ(error_of<lend::WriteSpliceBuf>(one, sqe), EINVAL) << "no such tag";
  sqe.position = lend::Position{.tag = 1}.pack();
  EXPECT_EQ(error_of<lend::WriteSpliceBuf>(one, sqe), EINVAL) << "no request there";
  sqe = whole(one);
  sqe.length = 0;
  EXPECT_EQ(error_of<lend::WriteSpliceBuf>(one, sqe), EINVAL) << "no length";
  sqe.length = 4097;
  EXPECT_EQ(error_of<lend::WriteSpliceBuf>(one, sqe), EFAULT);
  sqe.length = UINT32_MAX;
  sqe.position = one.at(4095).pack();
  EXPECT_EQ(error_of<lend::WriteSpliceBuf>(one, sqe), EFAULT) << "overflow";
  EXPECT_EQ(error_of<lend::ReadSpliceBuf>(one, whole(one)), EACCES) << "a source";
  one.provider.withdraw();
  EXPECT_EQ(error_of<lend::WriteSpliceBuf>(one, whole(one)), ENODEV);
}

TEST(Rules, S48_E_SpliceBuf_NoDataOrTheWrongDirection) {
  OneRequest one(Op::read, 4096);
  EXPECT_EQ(error_of<lend::WriteSpliceBuf>(one, whole(one)), EACCES) << "a destination";
  const lend::SpliceBufSqe sqe = whole(one);
  one.provider.begin(one.tag.make(Op::flush, 0, 0));
  lend::ReadSpliceBuf reading(sqe);
  const Task task = reading.run(one.request);
  EXPECT_EQ(task.status().error(), EINVAL);
  EXPECT_TRUE(has_pattern(one.memory));
}

TEST(Rules, S47_TheBufferOfALaterStepCannotBeNamed) {
  OneRequest one(Op::write, 4096);
  one.provider.end(one.request);
  lend::WriteSpliceBuf too_early(whole(one));
  one.provider.begin(one.request);  // what an earlier step of a chain would have done
  const Task refused = too_early.run(one.request);
  EXPECT_EQ(refused.status().error(), EINVAL);
  EXPECT_TRUE(one.untouched());

  lend::WriteSpliceBuf in_time(whole(one));
  one.provider.end(one.request);  // no matter: it has been fetched
  const Task task = in_time.run(one.request);
  one.ring.settle();
  one.ring.complete(0, 4096);
  EXPECT_TRUE(task.status().ok());
}

TEST(Rules, S51_TheRequestIsHeldAndNotOnlyItsPages) {
  OneRequest one(Op::write, 4096);
  TestTag runner(one.ring);
  lend::WriteSpliceBuf writing(whole(one));
  const Task task = writing.run(runner.make(Op::flush, 0, 0));
  one.ring.settle();
  one.provider.end(one.request);
  one.tag.finish();  // an early commit: nothing stopped it in the posted code
  EXPECT_EQ(one.tag.returned_count, 0);
  one.ring.complete(0, 4096);
  EXPECT_TRUE(task.status().ok());
  EXPECT_EQ(one.tag.returned_count, 1);
}

TEST(Rules, S54_BMayBeARegisteredFile) {
  OneRequest one(Op::write, 4096);
  lend::SpliceBufSqe sqe = whole(one);
  sqe.file = {.number = 3, .registered = true};
  lend::WriteSpliceBuf writing(sqe);
  const Task task = writing.run(one.request);
  one.ring.settle();
  EXPECT_EQ(one.ring.sqe(0).fd, 3);
  EXPECT_EQ(one.ring.sqe(0).flags, IOSQE_FIXED_FILE);
  one.ring.complete(0, 4096);
  EXPECT_TRUE(task.status().ok());
}

TEST(Rules, S55_FetchingIsNoCallOfTheKernel) {
  OneRequest one(Op::write, 4096);
  const lend::WriteSpliceBuf fetched(whole(one));
  EXPECT_EQ(one.loan().references(), 3U);
  EXPECT_TRUE(one.untouched());
  EXPECT_EQ(fetched.result(), -ECANCELED) << "it has not run";
}

}  // namespace
}  // namespace sluice::test
