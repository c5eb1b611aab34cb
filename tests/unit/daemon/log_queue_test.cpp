// LogQueue: logging never waits for the log, even if the log hangs.
#include "daemon/log_queue.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/details/log_msg.h>

#include <chrono>
#include <cstdio>
#include <future>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace sluice {
namespace {

using Clock = std::chrono::steady_clock;
using testing::ElementsAre;
using namespace std::chrono_literals;

// The written lines. Writes wait while the gate is closed. Shared, because a thread that hangs
// outlives the queue of its test.
struct Journal {
  std::promise<void> gate;
  std::shared_future<void> open{gate.get_future()};
  std::mutex mutex;
  std::vector<std::string> lines;
  std::vector<spdlog::log_clock::time_point> times;

  std::vector<std::string> written() {
    const std::scoped_lock guard(mutex);
    return lines;
  }
};

class JournalSink final : public spdlog::sinks::sink {
 public:
  explicit JournalSink(std::shared_ptr<Journal> journal) : journal_(std::move(journal)) {}
  void log(const spdlog::details::log_msg& message) override {
    journal_->open.wait();
    const std::scoped_lock guard(journal_->mutex);
    journal_->lines.emplace_back(message.payload.data(), message.payload.size());
    journal_->times.push_back(message.time);
  }
  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

 private:
  const std::shared_ptr<Journal> journal_;
};

class LogQueueTest : public testing::Test {
 protected:
  std::shared_ptr<LogQueue> start(const LogQueue::Limits& limits) {
    auto queue = LogQueue::start(
        [journal = journal_] { return std::make_shared<JournalSink>(journal); }, limits);
    EXPECT_TRUE(queue);
    return std::move(*queue);
  }
  void open_gate() { journal_->gate.set_value(); }

  const std::shared_ptr<Journal> journal_ = std::make_shared<Journal>();
};

void say(LogQueue& queue, const std::string& text) {
  queue.log({"sluice", spdlog::level::info, text});
}

TEST_F(LogQueueTest, WritesLinesInOrder) {
  open_gate();
  const auto queue = start({.bytes = 300, .timeout = 10s});
  std::vector<std::string> expected;
  for (size_t i = 0; i < 100; ++i) {  // wraps around the buffer many times
    expected.push_back(fmt::format("line {}{}", i, std::string(i, '.')));
    say(*queue, expected.back());
    queue->flush();
  }
  EXPECT_EQ(journal_->written(), expected);
}

TEST_F(LogQueueTest, TakesTheTimeOfTheCall) {
  const auto queue = start({.bytes = 4096, .timeout = 10s});
  const auto before = spdlog::log_clock::now();
  say(*queue, "first");
  const auto after = spdlog::log_clock::now();
  std::this_thread::sleep_for(20ms);
  open_gate();
  queue->flush();
  ASSERT_EQ(journal_->times.size(), 1);
  EXPECT_GE(journal_->times[0], before);
  EXPECT_LE(journal_->times[0], after);
}

TEST_F(LogQueueTest, NeverWaitsForASinkThatHangsAndCountsWhatIsDropped) {
  const auto queue = start({.bytes = 1024, .timeout = 10s});
  const auto begun = Clock::now();
  constexpr int kLines = 10'000;
  for (int i = 0; i < kLines; ++i) say(*queue, fmt::format("line {}", i));
  EXPECT_LT(Clock::now() - begun, 5s);
  open_gate();
  queue->flush();
  say(*queue, "again");
  queue->flush();
  int next = 0;  // each notice is at the place of the dropped lines, and has their number
  int dropped = 0;
  for (const std::string& line : journal_->written()) {
    if (std::sscanf(line.c_str(), "%d lines dropped", &dropped) == 1) {
      next += dropped;
    } else if (line != "again") {
      EXPECT_EQ(line, fmt::format("line {}", next++));
    }
  }
  EXPECT_EQ(next, kLines);
  EXPECT_GT(dropped, 0);
  EXPECT_EQ(journal_->written().back(), "again");
}

TEST_F(LogQueueTest, EndsAfterAMomentWhereTheSinkHangs) {
  auto queue = start({.bytes = 4096, .timeout = 50ms});
  say(*queue, "never written");
  const auto begun = Clock::now();
  queue->flush();
  queue.reset();
  EXPECT_GE(Clock::now() - begun, 50ms);
  EXPECT_LT(Clock::now() - begun, 5s);
  EXPECT_THAT(journal_->written(), ElementsAre());
  open_gate();  // the detached thread still finds the objects that it uses
}

TEST_F(LogQueueTest, WritesWhatIsThereBeforeItEnds) {
  open_gate();
  auto queue = start({.bytes = 4096, .timeout = 10s});
  for (int i = 0; i < 20; ++i) say(*queue, "line");
  queue.reset();
  EXPECT_EQ(journal_->written().size(), 20);
}

TEST_F(LogQueueTest, CutsALineThatIsTooLong) {
  open_gate();
  const auto queue = start({.bytes = 8192, .timeout = 10s});
  say(*queue, std::string(10'000, 'x'));
  say(*queue, "next");
  queue->flush();
  EXPECT_THAT(journal_->written(), ElementsAre(std::string(LogQueue::kLineBytesMax, 'x'), "next"));
}

TEST_F(LogQueueTest, OpensTheLogOnItsOwnThread) {
  std::promise<void> opened;
  const auto begun = Clock::now();
  auto queue = LogQueue::start(
      [&opened, journal = journal_] {
        opened.get_future().wait();
        return std::make_shared<JournalSink>(journal);
      },
      {.bytes = 4096, .timeout = 10s});
  ASSERT_TRUE(queue);
  say(**queue, "early");
  EXPECT_LT(Clock::now() - begun, 5s);
  opened.set_value();
  open_gate();
  (*queue)->flush();
  EXPECT_THAT(journal_->written(), ElementsAre("early"));
}

TEST_F(LogQueueTest, OutlivesALogThatCannotBeOpened) {
  auto queue = LogQueue::start([]() -> spdlog::sink_ptr { throw std::runtime_error("no room"); },
                               {.bytes = 4096, .timeout = 10s});
  ASSERT_TRUE(queue);
  say(**queue, "lost");
  const auto begun = Clock::now();
  (*queue)->flush();
  EXPECT_LT(Clock::now() - begun, 5s);
}

}  // namespace
}  // namespace sluice
