#include "core/bounded_look.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>

#include "core/descriptor.hpp"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::Eq;
using testing::Optional;

constexpr LookLimits kShort{.each = 100ms, .all = 1s};

TEST(BoundedLook, AnswersInOrder) {
  const auto looks = look_bounded(3, [](size_t i) { return std::string(i * 100'000, 'a'); });
  ASSERT_TRUE(looks) << looks.error().text;
  EXPECT_THAT(*looks, ElementsAre(Optional(std::string()), Optional(std::string(100'000, 'a')),
                                  Optional(std::string(200'000, 'a'))));
}

TEST(BoundedLook, NothingIsAskedOfNobody) {
  const auto looks = look_bounded(0, [](size_t) { return std::string(); });
  ASSERT_TRUE(looks);
  EXPECT_TRUE(looks->empty());
}

TEST(BoundedLook, OneThatHangsOrCrashesHurtsNoOther) {
  const auto look = [](size_t i) {
    if (i == 1) pause();
    if (i == 2) abort();
    return std::to_string(i);
  };
  const auto begun = std::chrono::steady_clock::now();
  const auto looks = look_bounded(4, look, kShort);
  ASSERT_TRUE(looks) << looks.error().text;
  EXPECT_THAT(*looks, ElementsAre(Optional(std::string("0")), Eq(std::nullopt), Eq(std::nullopt),
                                  Optional(std::string("3"))));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 1s);
}

TEST(BoundedLook, EndsInTimeIfAllHang) {
  const auto begun = std::chrono::steady_clock::now();
  const auto looks = look_bounded(1000, [](size_t) { return pause(), std::string(); }, kShort);
  ASSERT_TRUE(looks) << looks.error().text;
  for (const auto& each : *looks) EXPECT_EQ(each, std::nullopt);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 2s);
}

// A helper that hangs must not keep a connection, a mount or a ring alive.
TEST(BoundedLook, AHelperThatHangsHoldsNothingOfItsCaller) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Descriptor kept(ends[0]);
  {
    const Descriptor given(ends[1]);
    const auto hang = [](size_t) { return pause(), std::string(); };
    // The helper lives longer than the check of the other end takes.
    [[maybe_unused]] const auto looks = look_bounded(1, hang, {.each = 3s, .all = 50ms});
  }
  char byte = 0;
  EXPECT_EQ(recv(kept.number(), &byte, 1, MSG_DONTWAIT), 0) << "the other end is still open";
}

// Also if the caller has blocked signals.
TEST(BoundedLook, AHelperThatHangsEndsByItself) {
  char fifo[] = "/tmp/sluice-fifo-XXXXXX";
  ASSERT_NE(mktemp(fifo), nullptr);
  ASSERT_EQ(mkfifo(fifo, 0600), 0);
  const Descriptor reading(open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const auto look = [&fifo](size_t) {
    [[maybe_unused]] const int held = open(fifo, O_WRONLY);
    return pause(), std::string();
  };
  const auto looks = look_bounded(1, look, {.each = 500ms, .all = 200ms});
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  unlink(fifo);
  ASSERT_TRUE(looks);
  EXPECT_THAT(*looks, ElementsAre(Eq(std::nullopt)));
  pollfd writer{.fd = reading.number(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&writer, 1, 5'000), 1) << "the helper still has it open";
  EXPECT_NE(writer.revents & POLLHUP, 0);
}

}  // namespace
}  // namespace sluice
