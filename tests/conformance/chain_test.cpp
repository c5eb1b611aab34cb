// Order, links and batches: get, use and put in one submission (S99 to S102, S119, S120).
#include <array>

#include "conformance/attempts.hpp"
#include "conformance/buffer_commands.hpp"
#include "sluice/lend.hpp"
#include "unit/ring/descriptors.hpp"

namespace sluice::test {
namespace {

using lend::Link;
using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint32_t kHalf = kBytes / 2;
constexpr Segment kAll{0, kBytes};
constexpr int64_t kNotBegun = -ECANCELED;

lend::Consumer to(const Descriptor& file, uint64_t offset = 0) {
  return lend::Write{.file = as_file(file), .offset = offset};
}
lend::Consumer from(const Descriptor& file) { return lend::Read{.file = as_file(file)}; }

// The use is made, and in 2023 would have been looked up, before there is anything in its slot.
TEST_P(OnEachProvider, S99_S119_P12_TheBufferIsLookedUpWhenItsUseBegins) {
  const Descriptor file = make_file(3 * kBytes, false);
  Link link = Link::none;
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.get(0, request, link);
    on.use(0, kAll, to(file, request.offset), link);
    on.put(0);
  });
  memory(kBytes, true);
  uint64_t offset = 0;
  for (const Link each : {Link::none, Link::soft, Link::hard}) {
    link = each;
    ASSERT_EQ(write(offset, kBytes), 0);
    EXPECT_THAT(server.results(), ElementsAre(kBytes, kBytes, 0));
    EXPECT_TRUE(has_pattern(contents(file, kBytes, offset)));
    EXPECT_EQ(server.references_left(), 0U);
    offset += kBytes;
  }
}

// Three SQEs then; one today, because the two around it are none.
TEST_P(OnEachProvider, S99_GetUseAndPutAreOneSubmission) {
  const Descriptor sink = opened(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.get(0, request, Link::soft);
    on.use(0, kAll, to(sink), Link::soft);
    on.put(0);
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.submitted_at_once(), 1U);
  if (addressable()) EXPECT_EQ(server.enters(), 1U);
}

TEST_P(OnEachProvider, S119_S120_P11_APutRightBehindTheUsesIsLegal) {
  const Descriptor file = make_file(2 * kBytes, false);
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.get(0, request);
    on.use(0, kAll, to(file));
    on.use(0, kAll, to(file, kBytes));
    on.put(0);
    on.get(0, request);  // the slot is free at once, while they run
    on.put(0);
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, kBytes, kBytes, 0, kBytes, 0));
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_TRUE(has_pattern(contents(file, kBytes, kBytes)));
  EXPECT_EQ(server.references_left(), 0U);
}

// In the kernel this may take the buffer of another request that is in the slot by then.
TEST_P(OnEachProvider, S120_E_UseBuf_BeforeTheGetAndAfterThePut) {
  const Descriptor file = make_file(kBytes, false);
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.use(0, kAll, to(file));
    on.get(0, request);
    on.put(0);
    on.use(0, kAll, to(file));
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(-EFAULT, kBytes, 0, -EFAULT));
  EXPECT_THAT(contents(file, kBytes), Each(std::byte{0}));
}

TEST_P(OnEachProvider, S100_P11_ASoftLinkStopsOnAnErrorAndAHardOneGoesOn) {
  const Descriptor file = make_file(kBytes, false);
  const Descriptor read_only = opened(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  Link link = Link::soft;
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.get(0, request, link);
    on.use(0, kAll, to(read_only), link);
    on.use(0, kAll, to(file), link);
    on.put(0);
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, -EBADF, kNotBegun, kNotBegun));
  EXPECT_EQ(server.status(), Status::from_errno(EBADF));
  EXPECT_THAT(server.slots_left(), ElementsAre(0)) << "it has to be put";
  EXPECT_THAT(contents(file, kBytes), Each(std::byte{0}));

  link = Link::hard;
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, -EBADF, kBytes, 0));
  EXPECT_EQ(server.status(), Status::from_errno(EBADF));
  EXPECT_THAT(server.slots_left(), IsEmpty());
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
}

// Of every kind: no result of an I/O that was never made may pass for one that moved nothing.
TEST(Rules, S100_WhatIsNotBegunSaysSo) {
  OneRequest one(Op::write, 4096);
  const Descriptor file = make_file(0, false);
  const lend::SpliceFile to_file = lend::SpliceFile::of(file.number());
  lend::BufferTable table = make_table(1);
  lend::DirectPipe direct_pipe;
  auto pipe = lend::UserPipe::make();
  ASSERT_TRUE(pipe) << pipe.error().text;
  lend::BufferProducer from(one.provider, one.at());

  lend::PutBuf fails(table, 0);
  lend::DevSplice dev_splice(one.provider, one.at().pack(), 4096, to(file));
  lend::WriteSpliceBuf splice_buf({.file = as_file(file),
                                   .length = 4096,
                                   .device = &one.provider,
                                   .position = one.at().pack()});
  lend::Fused fused({.master = {&one.provider, 0, 0}, .piece = {0, 4096}, .slave = to(file)});
  std::array<lend::FusedGroup::Member, 1> members{{{.piece = {0, 4096}, .consumer = to(file)}}};
  lend::FusedGroup group({&one.provider, 0, 0}, members);
  lend::SpliceDirect direct(direct_pipe, from, 4096, to_file, 0);
  lend::SpliceReadToRead read_to_read(direct_pipe, from, 4096, to_file, 0);
  lend::SpliceWrite splice(*pipe, one.provider, one.at(), 4096, to_file, 0);
  lend::UseBuf use(table, 0, {0, 4096}, to(file));
  const auto linked = [](auto& command) { return lend::Step(command, Link::soft); };
  const std::array steps{linked(fails),  linked(dev_splice),   linked(splice_buf),
                         linked(fused),  linked(group),        linked(direct),
                         linked(splice), linked(read_to_read), linked(use)};
  lend::Chain chain(steps);
  const Task task = chain.run(one.request);
  EXPECT_EQ(task.status().error(), EINVAL);
  EXPECT_TRUE(one.untouched());
  EXPECT_THAT(
      (std::array{dev_splice.result(), splice_buf.result(), fused.result(), members[0].result,
                  direct.result(), splice.result(), read_to_read.result(), use.result()}),
      Each(kNotBegun));
}

// The rest that is not linked runs whatever becomes of it.
TEST_P(OnEachProvider, S100_WhatIsNotLinkedDoesNotStop) {
  const Descriptor file = make_file(kBytes, false);
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.use(3, kAll, to(file), Link::soft);
    on.put(3);
    on.get(0, request, Link::soft);
    on.use(0, kAll, to(file), Link::hard);
    on.put(0);
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(-EFAULT, kNotBegun, kBytes, kBytes, 0));
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
}

TEST_P(OnEachProvider, S100_AShortReadBreaksALink) {
  const Descriptor short_file = make_file(kHalf, true);
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.get(0, request, Link::soft);
    on.use(0, kAll, from(short_file), Link::soft);
    on.put(0);
  });
  memory(kBytes);
  EXPECT_NE(read(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, kHalf, kNotBegun));
  EXPECT_EQ(server.status(), Status::from_errno(ENODATA));
  EXPECT_THAT(server.slots_left(), ElementsAre(0));
}

// Receiving waits for all (MSG_WAITALL); it is short only where the peer ends.
TEST_P(OnEachProvider, S100_P9_AShortReceiveBreaksALinkOnlyWhenThePeerEnds) {
  Pair sockets = stream_sockets();
  const auto sent = patterned(kHalf);
  ASSERT_EQ(::send(sockets.far.number(), sent.data(), kHalf, 0), kHalf);
  sockets.far = {};
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.get(0, request, Link::soft);
    on.use(0, {0, kHalf / 2}, lend::Recv{as_file(sockets.near)}, Link::soft);
    on.use(0, {kHalf / 2, kHalf}, lend::Recv{as_file(sockets.near)}, Link::soft);
    on.put(0);
  });
  memory(kBytes);
  EXPECT_NE(read(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, kHalf / 2, kHalf / 2, kNotBegun));
  EXPECT_EQ(server.status(), Status::from_errno(ECONNRESET));
}

// With links N users of one buffer are N submissions, one after the other. Without, they are one.
TEST_P(OnEachProvider, S101_P7_UsersWorkAtOnceUnlessTheyAreLinked) {
  constexpr uint32_t kUsers = 3;
  const Descriptor file = make_file(kUsers * kBytes, false);
  Link link = Link::none;
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.get(0, request, link);
    for (uint32_t i = 0; i < kUsers; ++i) on.use(0, kAll, to(file, uint64_t{i} * kBytes), link);
    on.put(0);
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.submitted_at_once(), kUsers);
  for (uint32_t i = 0; i < kUsers; ++i) {
    EXPECT_TRUE(has_pattern(contents(file, kBytes, uint64_t{i} * kBytes)));
  }
  EXPECT_EQ(server.references_left(), 0U);

  link = Link::hard;
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.submitted_at_once(), 1U);
  EXPECT_GE(server.enters(), kUsers);
}

// Gets a buffer, has the program look at some bytes of it, and only then decides what to do.
class Looks : public Server {
 public:
  static constexpr uint32_t kLookedAt = 4096;

  Looks(const Descriptor& file, const Descriptor& other)
      : file_(as_file(file)), other_(as_file(other)) {}
  std::span<const std::byte> seen() const { return seen_; }

 private:
  Task serve(Request& request) override {
    lend::GetBuf getting(table_, 0, provider(), lend::Provider::position(request), kBytes);
    const std::array<lend::Step, 1> begin{getting};
    lend::Chain first(begin);
    {
      Task running = first.run(request);
      const Status status = co_await running;
      if (!status.ok()) co_return status;
    }
    {
      auto looking =
          request.ring->copy_out(table_.use(0, {kHalf, kLookedAt}, *request.arena), seen_);
      const Status status = co_await looking;
      if (!status.ok()) co_return status;
    }
    const File chosen = seen_[0] == pattern(kHalf) ? file_ : other_;
    lend::UseBuf writing(table_, 0, kAll, lend::Write{.file = chosen});
    lend::PutBuf putting(table_, 0);
    const std::array<lend::Step, 2> rest{lend::Step(writing, Link::soft), putting};
    lend::Chain second(rest);
    Task running = second.run(request);
    co_return co_await running;
  }

  const File file_;
  const File other_;
  lend::BufferTable table_ = make_table(1);
  std::vector<std::byte> seen_ = std::vector<std::byte>(kLookedAt);
};

TEST_P(OnEachProvider, S102_P13_P14_StopsInTheMiddleToLookAtSomeBytes) {
  const Descriptor file = make_file(kBytes, false);
  const Descriptor other = make_file(kBytes, false);
  const auto& server = serve_with<Looks>(file, other);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_TRUE(has_pattern(server.seen(), kHalf));
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_THAT(contents(other, kBytes), Each(std::byte{0}));
  EXPECT_EQ(copied_bytes(), Looks::kLookedAt) << "no more than it looked at";
}

}  // namespace
}  // namespace sluice::test
