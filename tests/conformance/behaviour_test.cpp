// What the threads of the mails tried their series with, on every provider.
#include "conformance/attempts.hpp"
#include "conformance/buffer_commands.hpp"
#include "conformance/sockets.hpp"
#include "core/gather.hpp"
#include "lend/fused_group.hpp"
#include "lend/splice_buf.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint32_t kHead = 4096;

// "Device buffer split": the first 4096 bytes and the rest are two operations.
class Splits : public Attempts {
 public:
  Splits(const Descriptor& head, const Descriptor& rest)
      : head_(as_file(head)), rest_(as_file(rest)) {}

 private:
  Task attempt(Request& request) override {
    const bool reads = request.op == Op::read;
    std::array<lend::FusedGroup::Member, 2> members{};
    members[0].piece = {0, kHead};
    members[1].piece = {kHead, kBytes - kHead};
    for (size_t i = 0; i < 2; ++i) {
      const File file = i == 0 ? head_ : rest_;
      members[i].consumer = reads ? lend::Consumer(lend::Read{.file = file})
                                  : lend::Consumer(lend::Write{.file = file});
    }
    lend::FusedGroup group({&provider(), request.queue, request.tag}, members);
    Task running = group.run(request);
    co_return co_await running;
  }

  const File head_;
  const File rest_;
};

TEST_P(OnEachProvider, S5_P6_TheFirst4096BytesAndTheRestAreTwoOperations) {
  const Descriptor head = make_file(0, false);
  const Descriptor rest = make_file(0, false);
  serve_with<Splits>(head, rest);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_TRUE(has_pattern(contents(head, kHead)));
  EXPECT_EQ(contents(head, kBytes).size(), kHead);
  EXPECT_TRUE(has_pattern(contents(rest, kBytes - kHead), kHead));
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_TRUE(has_pattern(back));
}

// A buffer is leased into a slot and goes out through a socket; another one is leased and filled
// from its other end.
TEST_P(OnEachProvider, S86_S95_ALeaseThroughAPair) {
  const Pair sockets = stream_sockets();
  auto& server = serve_with<BufferCommands>([&](BufferCommands& on, const Request& request) {
    on.get(0, request);
    if (request.op == Op::write) {
      on.use(0, {0, kBytes}, lend::Send{.socket = as_file(sockets.near)});
    } else {
      on.use(0, {0, kBytes}, lend::Recv{.socket = as_file(sockets.far)});
    }
    on.put(0);
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, kBytes, 0));
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, kBytes, 0));
  EXPECT_TRUE(has_pattern(back));
  EXPECT_EQ(pending_bytes(sockets.far), 0) << "the socket is empty";
  EXPECT_EQ(server.references_left(), 0U);
}

// One command as posted for each file: at once, on one request.
class Mirrors : public Attempts {
 public:
  Mirrors(const Descriptor& left, const Descriptor& right)
      : left_(as_file(left)), right_(as_file(right)) {}

 private:
  Task attempt(Request& request) override {
    lend::FusedSqe sqe{.master = {&provider(), request.queue, request.tag},
                       .piece = {0, kBytes},
                       .slave = lend::Write{.file = left_}};
    lend::Fused left(sqe);
    sqe.slave = lend::Write{.file = right_};
    lend::Fused right(sqe);
    Gather both(request, 2);
    both.add(left.run(request));
    both.add(right.run(request));
    const Status status = co_await both;
    EXPECT_EQ(left.result(), kBytes);
    EXPECT_EQ(right.result(), kBytes);
    co_return status;
  }

  const File left_;
  const File right_;
};

TEST_P(OnEachProvider, S64_S76_AMirrorOfOneBufferToTwoFiles) {
  const Descriptor left = make_file(0, false);
  const Descriptor right = make_file(0, false);
  auto& server = serve_with<Mirrors>(left, right);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_TRUE(has_pattern(contents(left, kBytes)));
  EXPECT_TRUE(has_pattern(contents(right, kBytes)));
  EXPECT_EQ(server.references_left(), 2U);
}

// Each interface has a hold on the same bytes while the others have. In the version of 2022 the
// second one would have been refused: each byte could be lent once (S36).
class AllAtOnce : public Attempts {
 public:
  AllAtOnce(std::array<File, 4> files) : files_(files) {}

 private:
  Task attempt(Request& request) override {
    lend::WriteSpliceBuf splice_buf({.file = files_[0],
                                     .length = kBytes,
                                     .device = &provider(),
                                     .position = lend::Provider::position(request).pack()});
    lend::Fused fused({.master = {&provider(), request.queue, request.tag},
                       .piece = {0, kBytes},
                       .slave = lend::Write{.file = files_[1]}});
    lend::GetBuf getting(table_, 0, provider(), lend::Provider::position(request), kBytes);
    lend::UseBuf using_it(table_, 0, {0, kBytes}, lend::Write{.file = files_[2]});
    lend::Consumption plain(request.data, lend::Write{.file = files_[3]});
    Gather all(request, 5);
    all.add(splice_buf.run(request));
    all.add(fused.run(request));
    all.add(getting.run(request));
    all.add(using_it.run(request));
    all.add(plain.run(request));
    const Status status = co_await all;
    EXPECT_TRUE(table_.remove(0).ok());
    co_return status;
  }

  const std::array<File, 4> files_;
  lend::BufferTable table_ = make_table(1);
};

TEST_P(OnEachProvider, S36_S76_SeveralCommandsOnOneRequestAtOnce) {
  std::array<Descriptor, 4> files;
  for (Descriptor& file : files) file = make_file(0, false);
  auto& server = serve_with<AllAtOnce>(
      std::array{as_file(files[0]), as_file(files[1]), as_file(files[2]), as_file(files[3])});
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  for (const Descriptor& file : files) EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_EQ(server.references_left(), 2U);
  EXPECT_EQ(copied_bytes(), 0U);
}

}  // namespace
}  // namespace sluice::test
