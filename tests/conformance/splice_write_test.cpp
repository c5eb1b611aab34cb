// Plain splice of a WRITE's pages, through a pipe of the server's: S8 to S13.
#include "lend/splice_write.hpp"

#include "conformance/serves_with.hpp"
#include "conformance/sockets.hpp"
#include "conformance/splice_files.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 128 * 1024;

using Splices = ServesWith<lend::SpliceWrite>;

lend::UserPipe make_pipe() {
  auto made = lend::UserPipe::make();
  EXPECT_TRUE(made) << made.error().text;
  return std::move(*made);
}

Splices::Make whole(lend::UserPipe& pipe, const lend::SpliceFile& to, uint64_t offset = 0) {
  return [&pipe, to, offset](auto& command, Request& request, lend::Provider& device) {
    command.emplace(pipe, device, lend::Provider::position(request),
                    static_cast<uint32_t>(request.length), to, offset);
  };
}

// The pages of ublk cannot be put into a pipe.
TEST_P(OnEachProvider, S8_S12_E_AWriteGoesThroughThePipeIfItsPagesCan) {
  const bool can = kind() != Kind::ublk && kind() != Kind::ublk_by_hand;
  const Descriptor file = make_file(1 << 20, false);
  lend::UserPipe pipe = make_pipe();
  auto& server = serve_with<Splices>(whole(pipe, looked_at(file), 8192));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), can ? int64_t{kBytes} : -EOPNOTSUPP);
  EXPECT_EQ(has_pattern(contents(file, kBytes, 8192)), can);
  EXPECT_EQ(server.submissions() != 0, can);
  EXPECT_EQ(pipe.held_bytes(), 0U);
  EXPECT_EQ(copied_bytes(), 0U);
  EXPECT_EQ(server.references_left(), 2U);
}

TEST_P(OnEachProvider, S8_E_AReadIsRefused) {
  const Descriptor file = make_file(kBytes, true);
  lend::UserPipe pipe = make_pipe();
  auto& server = serve_with<Splices>(whole(pipe, looked_at(file)));
  EXPECT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(), -EACCES);
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_EQ(pipe.held_bytes(), 0U);
}

TEST(Rules, S9_WhoeverHasThePipeCanReadThePages) {
  OneRequest one(Op::write, 4096);
  lend::UserPipe pipe = make_pipe();
  const Descriptor file = make_file(0, false);
  lend::SpliceWrite writing(pipe, one.provider, one.at(), 4096, looked_at(file), 0);
  const Task task = writing.run(one.request);
  one.ring.settle();
  std::vector<std::byte> seen(4096);
  ASSERT_EQ(::read(pipe.pipe().read_end.number(), seen.data(), seen.size()), 4096);
  EXPECT_EQ(seen, one.memory);
  one.ring.complete(0, -EIO);
  EXPECT_EQ(task.status().error(), EIO);
}

TEST(Rules, S10_OneSpliceMovesSixteenPagesUnlessThePipeGrows) {
  constexpr uint32_t kLong = 512 * 1024;
  OneRequest one(Op::write, kLong);
  lend::UserPipe pipe = make_pipe();
  const Descriptor file = make_file(0, false);
  EXPECT_EQ(pipe.capacity_bytes(), 16 * 4096U);
  {
    lend::SpliceWrite writing(pipe, one.provider, one.at(), kLong, looked_at(file), 0);
    const Task task = writing.run(one.request);
    one.ring.settle();
    EXPECT_LE(one.ring.sqe(0).len, 16 * 4096U);
    one.ring.perform_all();
    EXPECT_TRUE(task.status().ok());
  }
  const uint64_t small = one.ring.counters().submitted;
  EXPECT_GE(small, kLong / (16 * 4096U));
  ASSERT_TRUE(pipe.grow(1 << 20));
  EXPECT_EQ(pipe.capacity_bytes(), 1U << 20);
  lend::SpliceWrite writing(pipe, one.provider, one.at(), kLong, looked_at(file), kLong);
  const Task task = writing.run(one.request);
  one.ring.perform_all();
  EXPECT_TRUE(task.status().ok());
  EXPECT_EQ(one.ring.counters().submitted, small + 1);
  EXPECT_TRUE(has_pattern(contents(file, kLong)));
  EXPECT_TRUE(has_pattern(contents(file, kLong, kLong)));
  EXPECT_FALSE(pipe.grow(UINT32_MAX));
}

TEST(Rules, S11_TheWholeBufferIsHeldUntilThePipeIsEmpty) {
  OneRequest one(Op::write, 8192);
  lend::UserPipe pipe = make_pipe();
  const Descriptor file = make_file(0, false);
  lend::SpliceWrite writing(pipe, one.provider, one.at(), 8192, looked_at(file), 0);
  const Task task = writing.run(one.request);
  one.ring.settle();
  EXPECT_EQ(one.loan().references(), 3U);
  one.ring.perform(0, 4096);  // a page is released
  EXPECT_EQ(one.loan().references(), 3U);
  one.ring.perform_all();
  EXPECT_TRUE(task.finished());
  EXPECT_EQ(one.loan().references(), 2U);
}

TEST(Rules, S12_ShortSplicesGoOnAndAnErrorLeavesNothingInThePipe) {
  OneRequest one(Op::write, kBytes);
  lend::UserPipe pipe = make_pipe();
  const Descriptor file = make_file(0, false);
  lend::SpliceWrite writing(pipe, one.provider, one.at(), kBytes, looked_at(file), 0);
  const Task task = writing.run(one.request);
  one.ring.settle();
  one.ring.perform(0, 1000);
  ASSERT_EQ(one.ring.pending(), 1U);
  EXPECT_EQ(one.ring.sqe(0).off, 1000U);
  EXPECT_NE(pipe.held_bytes(), 0U);
  one.ring.complete(0, -EINTR);
  ASSERT_EQ(one.ring.pending(), 1U);
  one.ring.complete(0, -EDQUOT);
  EXPECT_EQ(task.status().error(), EDQUOT);
  EXPECT_EQ(writing.result(), 1000);
  EXPECT_EQ(pipe.held_bytes(), 0U);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_EQ(contents(file, kBytes).size(), 1000U);

  lend::SpliceWrite none(pipe, one.provider, one.at(), kBytes, looked_at(file), 0);
  const Task failed = none.run(one.request);
  one.ring.settle();
  one.ring.complete(0, 0);
  EXPECT_EQ(none.result(), -ENOSPC);
  EXPECT_EQ(pipe.held_bytes(), 0U);
}

TEST(Rules, S13_AShortSpliceInTheRingBreaksItsLinks) {
  io_uring ring{};
  if (io_uring_queue_init(4, &ring, 0) != 0) GTEST_SKIP() << "no io_uring here";
  lend::UserPipe pipe = make_pipe();
  const Descriptor file = make_file(0, false);
  ASSERT_EQ(::write(pipe.pipe().write_end.number(), patterned(100).data(), 100), 100);
  io_uring_sqe* const splicing = io_uring_get_sqe(&ring);
  io_uring_prep_splice(splicing, pipe.pipe().read_end.number(), -1, file.number(), 0, 200, 0);
  splicing->flags |= IOSQE_IO_LINK;
  io_uring_prep_nop(io_uring_get_sqe(&ring));
  EXPECT_EQ(io_uring_submit_and_wait(&ring, 2), 2);
  std::array<io_uring_cqe*, 2> ended{};
  ASSERT_EQ(io_uring_peek_batch_cqe(&ring, ended.data(), 2), 2U);
  EXPECT_EQ(ended[0]->res, 100);
  EXPECT_EQ(ended[1]->res, -ECANCELED);
  EXPECT_TRUE(has_pattern(contents(file, 100)));
  io_uring_queue_exit(&ring);
}

TEST_P(OnEachProvider, S12_E_FilesThatCannotBeWrittenSo) {
  const Descriptor file = make_file(kBytes, true);
  const Descriptor to_read = opened_anew(file, O_RDONLY);
  const Descriptor appending = opened_anew(file, O_WRONLY | O_APPEND);
  const Pair sockets = stream_sockets();
  lend::UserPipe pipe = make_pipe();
  auto& server = serve_with<Splices>(Splices::Makers{
      whole(pipe, lend::SpliceFile::of(-1)),
      whole(pipe, looked_at(to_read)),
      whole(pipe, looked_at(appending)),
      whole(pipe, looked_at(sockets.near)),
      whole(pipe, looked_at(file), UINT64_MAX),
      whole(pipe, looked_at(file), INT64_MAX),
  });
  memory(kBytes);
  EXPECT_EQ(write(0, kBytes), 0);
  const std::array expected{-EBADF, -EBADF, -EINVAL, -EINVAL, -EINVAL, -EINVAL};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(server.result(i), expected[i]) << i;
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_EQ(pending_bytes(sockets.far), 0);
  EXPECT_EQ(pipe.held_bytes(), 0U);
}

TEST_P(OnEachProvider, S8_E_NamesOfNothing) {
  const Descriptor file = make_file(kBytes, true);
  lend::UserPipe pipe = make_pipe();
  auto& server = serve_with<Splices>(on_bad_names<lend::SpliceWrite>(
      [&](auto& command, lend::Provider& device, const BadName& bad) {
        command.emplace(pipe, device, bad.at, bad.length, looked_at(file), 0);
      }));
  memory(kBytes);
  EXPECT_EQ(write(0, kBytes), 0);
  for (size_t i = 0; i < kBadNameErrors.size(); ++i) {
    EXPECT_EQ(server.result(i), -kBadNameErrors[i]) << i;
  }
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
}

}  // namespace
}  // namespace sluice::test
