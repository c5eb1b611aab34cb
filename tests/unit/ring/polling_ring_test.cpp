// A ring that polls before it sleeps: it misses nothing, whether it finds completions or not.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "ring/completion.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

class PollingRing : public OnKernelRing {
 protected:
  void SetUp() override { open({.entries = 64, .slots = kSlots, .idle_poll = milliseconds(5)}); }
};

// Some while the ring polls, some while it sleeps.
TEST_F(PollingRing, GetsWhatAnotherThreadSends) {
  const Pair pipe = pipe_ends();
  constexpr int kRounds = 300;
  std::atomic<int> wanted = 0;
  std::jthread other([&] {
    for (int i = 0; i < kRounds; ++i) {
      while (wanted.load() <= i) std::this_thread::yield();
      if (i % 3 != 0) std::this_thread::sleep_for(microseconds(i % 50 == 1 ? 7000 : 20));
      EXPECT_EQ(write(pipe.far.number(), &i, sizeof(i)), static_cast<ssize_t>(sizeof(i)));
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    Bytes memory(sizeof(i));
    Lent lent(Direction::destination, memory);
    const Started reading(ring(), lent.loan.view(), read_from(file_of(pipe.near), 0));
    ++wanted;
    ASSERT_EQ(finish(reading), 0);
    int found = 0;
    std::memcpy(&found, memory.data(), sizeof(found));
    ASSERT_EQ(found, i);
  }
}

TEST_F(PollingRing, IsWokenByMessages) {
  struct Counting final : Message {
    void run() noexcept override { ++count; }
    std::atomic<int> count = 0;
  };
  Counting message;
  for (int i = 0; i < 300; ++i) {
    std::jthread other([&] { ring().post(message); });
    while (message.count.load() <= i) ring().run_once(true);
  }
}

TEST_F(PollingRing, SleepsIfNothingComes) {
  const Started quick(ring(),
                      [](Request& request) { return request.ring->sleep(microseconds(9)); });
  EXPECT_EQ(finish(quick), 0);
  const Started slow(ring(),
                     [](Request& request) { return request.ring->sleep(milliseconds(30)); });
  EXPECT_EQ(finish(slow), 0);
}

}  // namespace
}  // namespace sluice::test
