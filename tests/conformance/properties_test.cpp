// The properties P-1 to P-22 where they show on a whole provider, from a program's request to its
// end. What they mean for loans and rings alone is in tests/unit/loan.
#include <sys/ioctl.h>

#include <future>

#include "conformance/attempts.hpp"
#include "conformance/sockets.hpp"
#include "core/gather.hpp"
#include "core/private_loan.hpp"
#include "frontend/ublk/mode.hpp"
#include "frontend/ublk/parameters.hpp"
#include "lend/fused.hpp"
#include "unit/core/allocations.hpp"
#include "unit/ring/started.hpp"

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

constexpr uint32_t kBytes = 128 * 1024;

// Whether it comes true within ten seconds.
template <typename Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 10'000 && !condition(); ++i) usleep(1000);
  return condition();
}

bool done_within(const std::future<int>& request, std::chrono::milliseconds time) {
  return request.wait_for(time) == std::future_status::ready;
}

// Does all that a request asks for, and keeps 512 bytes of it.
class Keeps : public Server {
 public:
  explicit Keeps(const Descriptor& file) : file_(as_file(file)) {}
  bool keeps() const { return keeps_.load(); }
  void let_go() {
    keeps_.store(false);
    kept_.drop();
  }

 private:
  Task serve(Request& request) override {
    lend::Fused moving({.master = {&provider(), request.queue, request.tag},
                        .piece = {0, kBytes},
                        .slave = request.op == Op::read
                                     ? lend::Consumer(lend::Read{.file = file_})
                                     : lend::Consumer(lend::Write{.file = file_})});
    {
      Task running = moving.run(request);
      (void)co_await running;
    }
    kept_ = provider().lend(lend::Provider::position(request, 1024), 512);
    keeps_.store(true);
    co_return kOk;
  }

  const File file_;
  View kept_;
  std::atomic<bool> keeps_ = false;
};

TEST_P(OnEachProvider, P1_P4_P16_ARequestEndsWhenTheLastViewOfAPartIsDroppedByAnyThread) {
  const Descriptor file = make_file(0, false);
  auto& server = serve_with<Keeps>(file);
  const auto data = memory(kBytes, true);
  for (const bool reads : {false, true}) {
    if (reads) memory(kBytes);
    auto request =
        std::async(std::launch::async, [&] { return reads ? read(0, kBytes) : write(0, kBytes); });
    ASSERT_TRUE(eventually([&] { return server.keeps(); }));
    EXPECT_FALSE(done_within(request, 30ms));
    server.let_go();
    EXPECT_EQ(request.get(), 0);
    EXPECT_TRUE(
        has_pattern(reads ? std::vector(data.begin(), data.end()) : contents(file, kBytes)));
  }
}

// On its first request it begins a receive that is not the request's, on its second it waits for
// the end of that.
class Parks : public Server {
 public:
  explicit Parks(const Descriptor& socket) : socket_(as_file(socket)) {}
  int received() const { return received_; }

 private:
  Task serve(Request& request) override {
    if (!unrelated_) {
      unrelated_.emplace(*request.ring, own_.view(), recv_from(socket_));
      co_return kOk;
    }
    while (!unrelated_->finished()) {
      auto sleeping = request.ring->sleep(1ms);
      (void)co_await sleeping;
    }
    received_ = unrelated_->error();
    unrelated_.reset();
    co_return kOk;
  }

  const File socket_;
  std::array<std::byte, 64> memory_{};
  PrivateLoan own_{Direction::destination, memory_};
  std::optional<Started> unrelated_;
  int received_ = -1;
};

TEST_P(OnEachProvider, P2_NoRequestWaitsForUnrelatedIo) {
  const Pair sockets = stream_sockets();
  auto& server = serve_with<Parks>(sockets.near);
  memory(kBytes, true);
  EXPECT_EQ(write(0, kBytes), 0) << "while the receive waits";
  const auto sent = patterned(64);
  ASSERT_EQ(send(sockets.far.number(), sent.data(), 64, 0), 64);
  EXPECT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.received(), 0);
}

// Fills the first half of a read and says that it was all.
class Lies : public Server {
 private:
  Task serve(Request& request) override {
    auto zeroing = request.ring->zero(request.data.slice(0, kBytes / 2, *request.arena));
    co_return co_await zeroing;
  }
};

TEST_P(OnEachProvider, P8_AServerThatClaimsMoreThanItFilledFailsItsClient) {
  serve_with<Lies>();
  memory(kBytes);
  EXPECT_EQ(read(0, kBytes), EIO);
}

// Looks at some bytes of a write before it passes it on; fills a read from memory and zeroes.
class Copies : public Server {
 public:
  explicit Copies(const Descriptor& file) : file_(as_file(file)) {}
  const std::vector<std::byte>& seen() const { return seen_; }
  int misuse() const { return misuse_; }

 private:
  Task serve(Request& request) override {
    Task serving = request.op == Op::read ? fill(request) : look(request);
    co_return co_await serving;
  }

  Task look(Request& request) {
    Ring& ring = *request.ring;
    auto copying = ring.copy_out(request.data.slice(1000, 512, *request.arena), seen_);
    const Status copied = co_await copying;
    if (!copied.ok()) co_return copied;
    auto misusing = ring.copy_in(request.data.slice(0, 512, *request.arena), seen_);
    const Status misused = co_await misusing;
    misuse_ = misused.error();
    auto writing = ring.write(file_, 0, request.data);
    co_return co_await writing;
  }

  Task fill(Request& request) {
    Ring& ring = *request.ring;
    auto zeroing = ring.zero(request.data);
    const Status zeroed = co_await zeroing;
    if (!zeroed.ok()) co_return zeroed;
    auto misusing = ring.copy_out(request.data.slice(0, 512, *request.arena), seen_);
    const Status misused = co_await misusing;
    misuse_ = misused.error();
    auto copying = ring.copy_in(request.data.slice(1000, 512, *request.arena), seen_);
    co_return co_await copying;
  }

  const File file_;
  std::vector<std::byte> seen_ = std::vector<std::byte>(512);
  int misuse_ = 0;
};

TEST_P(OnEachProvider, S83_P13_P14_SomeBytesAreCopiedOutAndInBetweenOperations) {
  const Descriptor file = make_file(0, false);
  auto& server = serve_with<Copies>(file);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_TRUE(has_pattern(server.seen(), 1000));
  EXPECT_EQ(server.misuse(), EACCES) << "nothing is copied into a write's buffer";
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_EQ(copied_bytes(), 512U);
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.misuse(), EACCES) << "nothing is copied out of a read's buffer";
  EXPECT_TRUE(has_pattern(back.subspan(1000, 512), 1000));
  EXPECT_EQ(back[999], std::byte{0});
  EXPECT_EQ(back[1512], std::byte{0});
  EXPECT_EQ(copied_bytes(), 1024U);
}

// Sends to a socket that takes nothing more, and cancels that.
class Cancels : public Attempts {
 public:
  explicit Cancels(const Descriptor& socket) : socket_(as_file(socket)) {}
  int64_t result() const { return result_; }
  uint32_t references_while_parked() const { return references_while_parked_; }

 private:
  Task attempt(Request& request) override {
    sending_.emplace(lend::FusedSqe{.master = {&provider(), request.queue, request.tag},
                                    .piece = {0, kBytes},
                                    .slave = lend::Send{.socket = socket_}});
    {
      Gather both(request, 2);
      both.add(sending_->run(request));
      both.add(cancel_later(request));
      (void)co_await both;
    }
    result_ = sending_->result();
    co_return kOk;
  }

  Task cancel_later(Request& request) {
    auto sleeping = request.ring->sleep(20ms);
    (void)co_await sleeping;
    references_while_parked_ = request.data.loan()->references();
    sending_->cancel(*request.ring);
    co_return kOk;
  }

  const File socket_;
  std::optional<lend::Fused> sending_;
  int64_t result_ = 0;
  uint32_t references_while_parked_ = 0;
};

// Until it takes nothing more; returns how many.
size_t fill_up(const Descriptor& socket) {
  const std::array<std::byte, 4096> filler{};
  size_t bytes = 0;
  ssize_t count = 0;
  while ((count = send(socket.number(), filler.data(), filler.size(), MSG_DONTWAIT)) > 0) {
    bytes += static_cast<size_t>(count);
  }
  return bytes;
}

TEST_P(OnEachProvider, S79_P10_ASendParkedOnAFullSocketIsCancelled) {
  const Pair sockets = stream_sockets();
  const size_t filled = fill_up(sockets.near);
  auto& server = serve_with<Cancels>(sockets.near);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), -ECANCELED);
  EXPECT_GT(server.references_while_parked(), 2U) << "a parked operation holds the loan";
  EXPECT_EQ(server.references_left(), 2U);
  EXPECT_EQ(static_cast<size_t>(pending_bytes(sockets.far)), filled);
}

class SendsZc : public Server {
 public:
  explicit SendsZc(const Descriptor& socket) : socket_(as_file(socket)) {}

 private:
  Task serve(Request& request) override {
    lend::Fused sending({.master = {&provider(), request.queue, request.tag},
                         .piece = {0, kBytes},
                         .slave = lend::SendZc{.socket = socket_}});
    Task running = sending.run(request);
    co_return co_await running;
  }

  const File socket_;
};

// The sender's socket takes all, the receiver's next to nothing: all is sent, as the result says,
// and the socket still holds the pages.
TEST_P(OnEachProvider, S129_P10_ALoanSentByZeroCopyIsBackWithTheNotification) {
  const Pair sockets = tcp_sockets();
  const int room = 4 * kBytes;
  const int little = 4096;
  setsockopt(sockets.near.number(), SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
  setsockopt(sockets.far.number(), SOL_SOCKET, SO_RCVBUF, &little, sizeof(little));
  serve_with<SendsZc>(sockets.near);
  memory(kBytes, true);
  auto request = std::async(std::launch::async, [&] { return write(0, kBytes); });
  const auto all_sent = [&] {
    int unacknowledged = 0;
    EXPECT_EQ(ioctl(sockets.near.number(), TIOCOUTQ, &unacknowledged), 0);
    return unacknowledged + pending_bytes(sockets.far) >= static_cast<int>(kBytes);
  };
  EXPECT_TRUE(eventually(all_sent));
  if (kind() == Kind::fuse) {
    EXPECT_EQ(request.get(), 0) << "pages in a pipe are copied into the socket";
  } else {
    EXPECT_FALSE(done_within(request, 50ms));
  }
  EXPECT_TRUE(has_pattern(received(sockets.far, kBytes)));
  if (request.valid()) EXPECT_EQ(request.get(), 0);
}

// Counts what its thread allocates from one request to the next.
class Counts : public Server {
 public:
  explicit Counts(const Descriptor& file) : file_(as_file(file)) {}
  uint64_t since_last() const { return since_last_; }

 private:
  Task serve(Request& request) override {
    since_last_ = allocations() - std::exchange(before_, allocations());
    lend::Fused moving({.master = {&provider(), request.queue, request.tag},
                        .piece = {0, kBytes},
                        .slave = lend::Write{.file = file_}});
    Task running = moving.run(request);
    co_return co_await running;
  }

  const File file_;
  uint64_t before_ = 0;
  uint64_t since_last_ = 0;
};

TEST_P(OnEachProvider, P20_OnceItRunsNothingIsAllocated) {
  const Descriptor file = make_file(0, false);
  auto& server = serve_with<Counts>(file);
  memory(kBytes, true);
  for (int i = 0; i < 40; ++i) ASSERT_EQ(write(0, kBytes), 0);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(write(0, kBytes), 0);
    EXPECT_EQ(server.since_last(), 0U) << i;
  }
}

TEST(Rules, P19_AnUnprivilegedServerIsLentNoPages) {
  const uint64_t all = ~uint64_t{0};
  for (const auto mode : {ublk::BufferMode::auto_register, ublk::BufferMode::register_buf}) {
    const auto choice = ublk::choose_mode({.named = mode, .unprivileged = true}, all, {});
    ASSERT_FALSE(choice);
    EXPECT_EQ(choice.error().error, EOPNOTSUPP);
  }
  ublk::ModeOptions mode_options;
  mode_options.unprivileged = true;
  const auto best = ublk::choose_mode(mode_options, all, {});
  ASSERT_TRUE(best);
  EXPECT_FALSE(ublk::is_zero_copy(best->mode));
}

TEST(Rules, P21_TheLimitsOfWhatHoldsTheDataBindTheClientsMemoryWhereItsPagesAreLent) {
  Geometry geometry;
  geometry.size_bytes = 1 << 20;
  geometry.memory_alignment_bytes = 512;
  geometry.max_segments = 128;
  geometry.max_segment_bytes = 65536;
  const auto lends = ublk::make_parameters(geometry, 1 << 20, true);
  ASSERT_TRUE(lends);
  EXPECT_EQ(lends->dma.alignment_mask, 511U);
  EXPECT_EQ(lends->segment.max_segments, 128U);
  EXPECT_EQ(lends->segment.max_segment_bytes, 65536U);
  const auto copies = ublk::make_parameters(geometry, 1 << 20, false);
  ASSERT_TRUE(copies);
  EXPECT_EQ(copies->types & (ublk::abi::kParamDmaAlign | ublk::abi::kParamSegment), 0U);
}

TEST(Rules, P22_WhatCannotBeHadIsKnownBeforeThereIsADevice) {
  ublk::ModeOptions mode_options;
  mode_options.zero_copy_required = true;
  const auto choice = ublk::choose_mode(mode_options, 0, {});
  ASSERT_FALSE(choice);
  EXPECT_EQ(choice.error().error, EOPNOTSUPP);
}

}  // namespace
}  // namespace sluice::test
