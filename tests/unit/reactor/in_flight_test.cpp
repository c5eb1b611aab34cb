// The position of a request is reported while it is in flight, and not afterwards.
#include "reactor/in_flight.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "cli/show_stats.hpp"
#include "daemon/in_flight_json.hpp"
#include "ring/kernel_ring.hpp"
#include "support/manual_ring.hpp"
#include "support/member_target.hpp"
#include "support/test_tag.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

// Forwards each request, part by part, to one child.
class Halves final : public Target {
 public:
  explicit Halves(Children child) : Target(std::move(child)) {
    geometry_ = common_geometry(children());
    geometry_.max_io_bytes = 4096;
    set_name("halves");
  }

 private:
  Task do_submit(Request& request) override { return child(0).submit(request); }
};

class Both final : public Target {
 public:
  explicit Both(Children members) : Target(std::move(members)) {
    geometry_ = common_geometry(children());
    set_name("both");
  }

 private:
  Task do_submit(Request& request) override { return submit_to_all(request); }
};

std::string shown(const Request& request, const Target& root) {
  const JsonValue inspected = {{"requests", in_flight_json({describe(request)}, root)}};
  return cli::in_flight_text(inspected);
}

TEST(InFlight, APartIsShownWithTheWayToWhereItIs) {
  ManualRing ring;
  TestTag tag(ring);
  Halves root(make_members({1 << 20}));
  root.child(0).set_name("loop(a.img)");
  std::vector<std::byte> memory(8192);
  Request& request = tag.make(Op::write, 8192, memory);
  {
    Task task = root.submit(request);
    ring.settle();
    EXPECT_EQ(shown(request, root),
              "queue 0 tag 0 write 8192 bytes at 8192, 0: halves > loop(a.img) write 4096 bytes at "
              "8192\n");
    ring.complete(0, 4096);
    EXPECT_NE(shown(request, root).find("write 4096 bytes at 12288"), std::string::npos);
    EXPECT_EQ(shown(request, root).find("write 4096 bytes at 8192"), std::string::npos);
    ring.complete(0, 4096);
    ASSERT_TRUE(task.finished());
    EXPECT_EQ(shown(request, root), "queue 0 tag 0 write 8192 bytes at 8192, 0: front end\n");
  }
}

TEST(InFlight, WhatIsAtSeveralChildrenIsAtTheirParentOnceOneIsDone) {
  ManualRing ring;
  TestTag tag(ring);
  Both root(make_members({1 << 20, 1 << 20}));
  Request& request = tag.make(Op::flush, 0, 0);
  {
    Task task = root.submit(request);
    ring.settle();
    ring.complete(1, 0);
    ring.complete(0, 0);
    ASSERT_TRUE(task.finished());
  }
  EXPECT_EQ(request.tracking.at, nullptr);
  EXPECT_EQ(request.tracking.first_child, nullptr);
}

TEST(InFlightInquiry, IsAnsweredByTheRingsThread) {
  std::atomic<Ring*> published = nullptr;
  std::atomic<bool> stop_returned = false;  // the ring outlives the thread that stops it
  std::thread thread([&] {
    auto own = KernelRing::create({.entries = 8, .cq_entries = 64, .slots = 0, .files = {}});
    published = own->get();
    (*own)->run();
    while (!stop_returned) std::this_thread::yield();
  });
  while (published.load() == nullptr) std::this_thread::yield();
  const std::thread::id thread_id = thread.get_id();
  InFlightInquiry inquiry([&] {
    EXPECT_EQ(std::this_thread::get_id(), thread_id);
    return std::vector<InFlight>(3);
  });
  for (int i = 0; i < 10; ++i) {
    const auto found = inquiry.ask([&](Message& message) {
      published.load()->post(message);
      return true;
    });
    ASSERT_TRUE(found) << found.error().text;
    EXPECT_EQ(found->size(), 3U);
  }
  published.load()->stop();
  stop_returned = true;
  thread.join();
}

TEST(InFlightInquiry, WithoutARingNothingIsInFlight) {
  InFlightInquiry inquiry([] { return std::vector<InFlight>(1); });
  const auto found = inquiry.ask([](Message&) { return false; });
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->empty());
}

TEST(InFlightInquiry, AThreadThatDoesNotAnswerIsNotWaitedForForLong) {
  InFlightInquiry inquiry([] { return std::vector<InFlight>(); });
  const auto found = inquiry.ask([](Message&) { return true; });
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().error, ETIMEDOUT);
}

}  // namespace
}  // namespace sluice::test
