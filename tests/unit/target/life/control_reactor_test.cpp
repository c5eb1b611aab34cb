// Work on a control reactor: the waiting caller gets an answer in time, whatever the work does.
#include "target/life/control_reactor.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

namespace sluice::test {
namespace {

using std::chrono::milliseconds;

ControlReactor::Clock::time_point in(milliseconds time) {
  return ControlReactor::Clock::now() + time;
}

struct Worker {
  Task sleep(Request& request, std::chrono::nanoseconds duration) {
    auto sleeping = request.ring->sleep(duration);
    co_return co_await sleeping;
  }
};

TEST(ControlReactor, RunsWorkAndGivesItsStatus) {
  auto reactor = ControlReactor::start();
  ASSERT_TRUE(reactor);
  std::thread::id where;
  const auto note = [&where](Request&) -> Task {
    where = std::this_thread::get_id();
    return Status::from_errno(EDOM);
  };
  EXPECT_EQ((*reactor)->perform(note, in(std::chrono::seconds(60))).error(), EDOM);
  EXPECT_NE(where, std::this_thread::get_id());
  Worker worker;
  const auto sleep = [&worker](Request& request) { return worker.sleep(request, milliseconds(1)); };
  EXPECT_TRUE((*reactor)->perform(sleep, in(std::chrono::seconds(60))).ok());
}

TEST(ControlReactor, WorkThatThrowsHasFailed) {
  auto reactor = ControlReactor::start();
  ASSERT_TRUE(reactor);
  const auto fails = [](Request&) -> Task { throw std::runtime_error("no"); };
  EXPECT_EQ((*reactor)->perform(fails, in(std::chrono::seconds(60))).error(), EIO);
}

TEST(ControlReactor, WorkThatDoesNotEndIsGivenUp) {
  auto reactor = ControlReactor::start();
  ASSERT_TRUE(reactor);
  Worker worker;
  const auto sleep = [&worker](Request& request) {
    return worker.sleep(request, std::chrono::hours(1));
  };
  EXPECT_EQ((*reactor)->perform(sleep, in(milliseconds(20))).error(), ETIMEDOUT);
  const auto nothing = [](Request&) -> Task { return kOk; };
  EXPECT_EQ((*reactor)->perform(nothing, in(milliseconds(20))).error(), ESHUTDOWN);
}

TEST(ControlReactor, WorkThatTakesLongMayGoOn) {
  auto reactor = ControlReactor::start();
  ASSERT_TRUE(reactor);
  Worker worker;
  const auto sleep = [&worker](Request& request) {
    return worker.sleep(request, milliseconds(200));
  };
  const auto nothing = [](Request&) -> Task { return kOk; };
  EXPECT_EQ((*reactor)->perform_or_leave(sleep, in(milliseconds(20))).error(), EINPROGRESS);
  EXPECT_EQ((*reactor)->perform_or_leave(nothing, in(milliseconds(20))).error(), EBUSY);
  EXPECT_TRUE((*reactor)->perform(nothing, in(std::chrono::seconds(60))).ok());
  const auto end = in(std::chrono::seconds(60));
  Status status = Status::from_errno(EBUSY);
  while (status.error() == EBUSY && ControlReactor::Clock::now() < end) {
    status = (*reactor)->perform_or_leave(nothing, end);
  }
  EXPECT_TRUE(status.ok());
}

// As a stack is stopped whose target is at an earlier command still.
TEST(ControlReactor, OtherWorkWaitsForWorkThatWasLeft) {
  auto reactor = ControlReactor::start();
  ASSERT_TRUE(reactor);
  Worker worker;
  const auto sleep = [&worker](Request& request) {
    return worker.sleep(request, milliseconds(200));
  };
  const auto begun = ControlReactor::Clock::now();
  EXPECT_EQ((*reactor)->perform_or_leave(sleep, in(milliseconds(20))).error(), EINPROGRESS);
  const auto nothing = [](Request&) -> Task { return kOk; };
  EXPECT_TRUE((*reactor)->perform(nothing, in(std::chrono::seconds(60))).ok());
  EXPECT_GE(ControlReactor::Clock::now() - begun, milliseconds(200));

  const auto hang = [&worker](Request& request) {
    return worker.sleep(request, std::chrono::hours(1));
  };
  EXPECT_EQ((*reactor)->perform_or_leave(hang, in(milliseconds(20))).error(), EINPROGRESS);
  EXPECT_EQ((*reactor)->perform(nothing, in(milliseconds(20))).error(), ETIMEDOUT);
  EXPECT_EQ((*reactor)->perform(nothing, in(milliseconds(20))).error(), ESHUTDOWN);
}

TEST(ControlReactor, WorkThatHangsDoesNotHangTheEnd) {
  auto reactor = ControlReactor::start();
  ASSERT_TRUE(reactor);
  Worker worker;
  const auto sleep = [&worker](Request& request) {
    return worker.sleep(request, std::chrono::hours(1));
  };
  EXPECT_EQ((*reactor)->perform_or_leave(sleep, in(milliseconds(20))).error(), EINPROGRESS);
  reactor->reset();
}

}  // namespace
}  // namespace sluice::test
