// P-15: who ends in the middle: the program, the server, the ring.
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <coroutine>
#include <filesystem>
#include <future>

#include "conformance/attempts.hpp"
#include "conformance/sockets.hpp"
#include "core/private_loan.hpp"
#include "frontend/ublk/control.hpp"
#include "lend/fused.hpp"
#include "ring/kernel_ring.hpp"
#include "unit/core/lent.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 128 * 1024;

// Says that it has a request, waits for a byte from there, and writes the request to a file.
class Waits : public Server {
 public:
  Waits(const Descriptor& socket, const Descriptor& file)
      : socket_(as_file(socket)), file_(as_file(file)) {}

 private:
  Task serve(Request& request) override {
    PrivateLoan word(Direction::destination, word_);
    EXPECT_EQ(send(socket_.number, "?", 1, 0), 1);
    auto hearing = request.ring->recv(socket_, word.view());
    const Status heard = co_await hearing;
    if (!heard.ok()) co_return heard;
    lend::Fused moving({.master = {&provider(), request.queue, request.tag},
                        .piece = {0, kBytes},
                        .slave = lend::Write{.file = file_}});
    Task running = moving.run(request);
    co_return co_await running;
  }

  const File socket_;
  const File file_;
  std::array<std::byte, 1> word_{};
};

bool readable(const Descriptor& descriptor) {
  pollfd waiting{.fd = descriptor.number(), .events = POLLIN, .revents = 0};
  return poll(&waiting, 1, 20'000) == 1 && (waiting.revents & POLLIN) != 0;
}

TEST_P(OnEachOfTheKernel, P15_TheProgramIsKilledAndItsPagesStayUntilTheServerIsDone) {
  const Client doomed;
  const Pair sockets = stream_sockets();
  const Descriptor file = make_file(0, false);
  serve_with<Waits>(sockets.near, file);
  std::ranges::copy(patterned(kBytes), doomed.memory(kBytes).begin());
  auto request = std::async(std::launch::async, [&] { return write_by(doomed, 0, kBytes); });
  ASSERT_TRUE(readable(sockets.far));
  doomed.kill();
  usleep(20'000);
  ASSERT_EQ(send(sockets.far.number(), "!", 1, 0), 1);
  EXPECT_EQ(request.get(), EPIPE) << "it has answered no more";
  EXPECT_EQ(received(sockets.far, 1).size(), 1U);

  memory(kBytes, true);  // the device goes on
  ASSERT_EQ(send(sockets.far.number(), "!", 1, 0), 1);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
}

void take_away(Kind kind, const std::string& path) {
  if (kind == Kind::fuse) {
    EXPECT_EQ(umount2(path.c_str(), MNT_DETACH), 0);
    std::filesystem::remove_all(std::filesystem::path(path).parent_path());
    return;
  }
  const auto control = ublk::Control::open();
  ASSERT_TRUE(control) << control.error().text;
  const auto id =
      static_cast<uint32_t>(std::stoul(path.substr(path.find_last_not_of("0123456789") + 1)));
  EXPECT_TRUE((*control)->remove(id, true));
}

TEST_P(OnEachOfTheKernel, P15_TheServerIsKilledWithLoansOutAndItsClientsRequestFails) {
  const Client program;
  const Pair sockets = stream_sockets();
  const Descriptor file = make_file(0, false);
  const pid_t server = fork();
  if (server == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    serve_with<Waits>(sockets.near, file);
    if (HasFatalFailure()) _exit(1);
    const std::string served = path() + '\n';
    send(sockets.near.number(), served.data(), served.size(), 0);
    pause();
  }
  ASSERT_GT(server, 0);
  ASSERT_TRUE(readable(sockets.far)) << "it serves";
  std::array<char, 64> told{};
  const ssize_t length = recv(sockets.far.number(), told.data(), told.size(), 0);
  ASSERT_GT(length, 1);
  const std::string place(told.data(), static_cast<size_t>(length) - 1);
  auto request = std::async(std::launch::async, [&] { return program.write(place, 0, kBytes); });
  EXPECT_TRUE(readable(sockets.far)) << "it has the request";
  kill(server, SIGKILL);
  EXPECT_EQ(waitpid(server, nullptr, 0), server);
  ASSERT_EQ(send(sockets.far.number(), "!", 1, 0), 1);
  EXPECT_NE(request.get(), 0);
  EXPECT_TRUE(contents(file, kBytes).empty()) << "no byte has left the buffer";
  take_away(kind(), place);
}

TEST(Rules, P15_NoByteOfABufferIsFilledWhenItsRingIsGone) {
  std::vector<std::byte> memory(4096, std::byte{0xee});
  const Pair sockets = stream_sockets();
  Lent lent(Direction::destination, memory);
  {
    auto ring = KernelRing::create({});
    ASSERT_TRUE(ring) << ring.error().text;
    Operation receiving = (*ring)->recv(as_file(sockets.near), lent.loan.view());
    ASSERT_FALSE(receiving.await_ready());
    receiving.await_suspend(std::noop_coroutine());
    for (int i = 0; i < 5; ++i) (*ring)->run_once(false);
    EXPECT_EQ((*ring)->in_flight(), 2U) << "and the ring's own";
    ring->reset();
    const auto sent = patterned(4096);
    ASSERT_EQ(send(sockets.far.number(), sent.data(), sent.size(), 0), 4096);
    usleep(20'000);
    lent.close();
    EXPECT_EQ(lent.returned_count(), 0);
  }
  EXPECT_EQ(memory, std::vector<std::byte>(4096, std::byte{0xee}));
  EXPECT_EQ(lent.returned_count(), 1);
}

}  // namespace
}  // namespace sluice::test
