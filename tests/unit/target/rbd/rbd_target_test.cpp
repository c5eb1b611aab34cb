// RbdTarget on a library of ours that fails as a real one does when its cluster is in trouble.
// T8.x are the traps of RBD.
#include "target/rbd/rbd_target.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>

#include "core/events.hpp"
#include "core/extents.hpp"
#include "core/private_loan.hpp"
#include "target/life/control_reactor.hpp"
#include "unit/target/rbd/stub_library.hpp"

namespace sluice::test {
namespace {

using namespace std::chrono_literals;
using rbd::RbdTarget;
using Clock = LifeCall::Clock;

constexpr size_t kImageBytes = 8 << 20;

class RbdTargetTest : public testing::Test {
 protected:
  void SetUp() override {
    auto started = ControlReactor::start();
    ASSERT_TRUE(started);
    control_ = std::move(*started);
    make({});
    set_event_sink(&grown_);
  }
  void TearDown() override {
    stub_.release();
    if (attached_) EXPECT_TRUE(stop().ok());
    EXPECT_TRUE(soon([&] { return stub_.open_handles() == 0; }))
        << stub_.open_handles() << " are open";
    target_.reset();
    control_.reset();
    set_event_sink(nullptr);
  }

  void make(rbd::Options options) {
    options.name = *rbd::parse_image_name(snapshot_ ? "pool/image@snap" : "pool/image");
    options.timeout = 7s;
    target_ = std::make_unique<RbdTarget>(stub_.table, options, rbd::Image::Files{});
    target_->set_name("rbd");
  }

  Status call(Task (Target::*step)(Request&, LifeCall&), LifeCall::Purpose purpose,
              std::chrono::milliseconds time = 20s) {
    const auto life = std::make_shared<LifeCall>();
    life->purpose = purpose;
    life->deadline = Clock::now() + time;
    const auto work = [this, step, life](Request& request) {
      return (target_.get()->*step)(request, *life);
    };
    const Status status = control_->perform(work, life->deadline + 5s);
    why_ = life->why;
    return status;
  }
  Status look() {
    const Status looked = call(&Target::start, LifeCall::Purpose::look);
    const std::string why = why_;
    if (looked.ok()) EXPECT_TRUE(call(&Target::stop, LifeCall::Purpose::look).ok());
    why_ = why;
    return looked;
  }
  Status start(std::chrono::milliseconds time = 20s) {
    const Status looked = look();
    if (!looked.ok()) return looked;
    const Status started = call(&Target::start, LifeCall::Purpose::serve, time);
    if (!started.ok()) return started;
    attached_ = true;
    return call(&Target::attach, LifeCall::Purpose::serve);
  }
  Status stop() {
    attached_ = false;
    const Status detached = call(&Target::detach, LifeCall::Purpose::serve);
    return detached.ok() ? call(&Target::stop, LifeCall::Purpose::serve) : detached;
  }

  struct Grown final : EventSink {
    void put(const StackEvent& event) override { count += event.kind == kBackingGrown ? 1 : 0; }
    std::atomic<int> count = 0;
  };

  // One request on the control reactor.
  struct Io {
    Request request;
    std::function<Task(Request&)> serve;
  };
  Status submit(Op op, uint64_t offset, uint64_t length, std::span<std::byte> memory = {},
                const std::function<void(Request&)>& change = {}) {
    const auto direction = op == Op::read ? Direction::destination : Direction::source;
    PrivateLoan loan(direction, memory);
    Io io;
    const auto work = [&](Request& request) {
      io.request =
          memory.empty() ? request.child(offset, length) : request.child(offset, loan.view());
      io.request.op = op;
      if (change) change(io.request);
      return target_->submit(io.request);
    };
    const Status status = control_->perform(work, Clock::now() + 20s);
    filled_ = op != Op::read || io.request.data.loan()->filled_bytes() == length;
    io.request.data.drop();
    return status;
  }
  Status read(uint64_t offset, std::span<std::byte> memory) {
    return submit(Op::read, offset, memory.size(), memory);
  }
  Status write(uint64_t offset, std::span<std::byte> memory) {
    return submit(Op::write, offset, memory.size(), memory);
  }
  template <typename Condition>
  static bool soon(Condition condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) std::this_thread::sleep_for(10ms);
    return condition();
  }
  uint64_t number(std::string_view name) const {
    const Health health = target_->health();
    const auto found = std::ranges::find(health.numbers, name, &HealthNumber::name);
    return found == health.numbers.end() ? UINT64_MAX : found->value;
  }

  Grown grown_;
  StubLibrary stub_{kImageBytes};
  std::unique_ptr<ControlReactor> control_;
  std::unique_ptr<RbdTarget> target_;
  std::vector<std::byte> data_ = std::vector(4096, std::byte{7});
  std::string why_;
  bool snapshot_ = false;
  bool attached_ = false;
  bool filled_ = false;
};

TEST_F(RbdTargetTest, BytesBothWays) {
  ASSERT_TRUE(start().ok()) << why_;
  EXPECT_EQ(target_->geometry().size_bytes, kImageBytes);
  ASSERT_TRUE(write(8192, data_).ok());
  EXPECT_EQ(stub_.image()[8192], std::byte{7});
  EXPECT_EQ(stub_.image()[8191], std::byte{0});
  std::vector<std::byte> back(4096);
  ASSERT_TRUE(read(8192, back).ok());
  EXPECT_EQ(back, data_);
  EXPECT_TRUE(filled_);
  EXPECT_EQ(number("direct_bytes"), 8192U);
  ASSERT_TRUE(submit(Op::discard, 8192, 4096).ok());
  EXPECT_EQ(stub_.calls("rbd_aio_discard"), 1);
}

TEST_F(RbdTargetTest, FlushesReachTheLibrary) {  // T8.1
  ASSERT_TRUE(start().ok());
  EXPECT_TRUE(submit(Op::flush, 0, 0).ok());
  EXPECT_EQ(stub_.calls("rbd_aio_flush"), 1);
  EXPECT_TRUE(submit(Op::flush, UINT64_MAX - 511, 0).ok()) << "as the kernel's block layer has it";
  EXPECT_EQ(stub_.option("rbd_cache"), "false");
  stub_.set_result("rbd_aio_flush", -EIO);
  EXPECT_EQ(submit(Op::flush, 0, 0).error(), EIO);
}

TEST_F(RbdTargetTest, ZeroesAreNoDiscards) {  // T8.15
  ASSERT_TRUE(start().ok());
  EXPECT_TRUE(submit(Op::write_zeroes, 512, 1024).ok());
  EXPECT_EQ(stub_.calls("rbd_aio_write_zeroes"), 1);
  EXPECT_EQ(stub_.calls("thick"), 0);
  const auto keep = [](Request& request) { request.may_unmap = false; };
  EXPECT_TRUE(submit(Op::write_zeroes, 512, 1024, {}, keep).ok());
  EXPECT_EQ(stub_.calls("thick"), 1);
  const auto fast = [](Request& request) {
    request.may_unmap = false;
    request.fast_only = true;
  };
  EXPECT_EQ(submit(Op::write_zeroes, 512, 1024, {}, fast).error(), EOPNOTSUPP);
  EXPECT_EQ(stub_.calls("rbd_aio_discard"), 0);
}

TEST_F(RbdTargetTest, ABlocklistedClientFails) {  // T8.2, T8.5: nothing is opened again
  ASSERT_TRUE(start().ok());
  stub_.set_result("rbd_aio_writev", -ESHUTDOWN);
  EXPECT_EQ(write(0, data_).error(), EIO);
  EXPECT_EQ(stub_.calls("rbd_aio_writev"), 1) << "no retry";
  EXPECT_EQ(target_->health().state, HealthState::failed);
  stub_.set_result("rbd_aio_writev", 0);
  EXPECT_EQ(write(0, data_).error(), EIO) << "for good";
  EXPECT_EQ(read(0, data_).error(), EIO);
  EXPECT_EQ(stub_.calls("rbd_open"), 1);
}

TEST_F(RbdTargetTest, ALostLockFailsTheDevice) {  // T8.3
  ASSERT_TRUE(start().ok());
  EXPECT_EQ(stub_.calls("rbd_lock_acquire"), 1);
  stub_.take_lock();
  EXPECT_TRUE(soon([&] { return target_->health().state == HealthState::failed; }))
      << "without any request";
  EXPECT_EQ(write(0, data_).error(), EIO);
}

TEST_F(RbdTargetTest, AWriteThatIsRefusedForTheLock) {  // T8.3
  ASSERT_TRUE(start().ok());
  stub_.set_result("rbd_aio_writev", -EROFS);
  EXPECT_EQ(write(0, data_).error(), EIO) << "not EROFS, which hides a failure";
  EXPECT_EQ(target_->health().state, HealthState::failed);
}

TEST_F(RbdTargetTest, TheLockOfAnother) {
  stub_.set_result("rbd_lock_acquire", -EROFS);
  EXPECT_EQ(start().error(), EBUSY);
  EXPECT_NE(why_.find("client.7 at 10.0.0.7"), std::string::npos) << why_;
}

TEST_F(RbdTargetTest, SharedOnRequestOnly) {  // T8.4
  make({.exclusive = false});
  ASSERT_TRUE(start().ok());
  EXPECT_EQ(stub_.calls("rbd_lock_acquire"), 0);
}

TEST_F(RbdTargetTest, NoFeatureForALock) {
  stub_.features = 0;
  EXPECT_EQ(start().error(), EINVAL);
  EXPECT_NE(why_.find("exclusive=no"), std::string::npos) << why_;
  make({.exclusive = false});
  EXPECT_TRUE(start().ok());
}

TEST_F(RbdTargetTest, RetriedOnceWhenAFeatureWasDisabled) {  // T8.8
  make({.exclusive = false});
  ASSERT_TRUE(start().ok());
  stub_.set_result("rbd_aio_writev", -ESHUTDOWN);
  EXPECT_EQ(write(0, data_).error(), EIO);
  EXPECT_EQ(stub_.calls("rbd_aio_writev"), 2);
  EXPECT_EQ(number("retries"), 1U);
}

TEST_F(RbdTargetTest, TheImageGrows) {  // T8.9
  ASSERT_TRUE(start().ok());
  stub_.change_size(2 * kImageBytes);
  EXPECT_TRUE(soon([&] { return number("image_bytes") == 2 * kImageBytes; }));
  EXPECT_EQ(target_->geometry().size_bytes, kImageBytes) << "until it is told to";
  EXPECT_TRUE(soon([&] { return grown_.count == 1; }));
  EXPECT_EQ(target_->resize(std::nullopt).value_or(0), 2 * kImageBytes);
  EXPECT_TRUE(write(2 * kImageBytes - 4096, data_).ok());
  EXPECT_EQ(target_->resize(3 * kImageBytes).value_or(0), 3 * kImageBytes);
  EXPECT_EQ(stub_.image().size(), 3 * kImageBytes);
  EXPECT_EQ(grown_.count, 1) << "what we do is no news";
  EXPECT_EQ(target_->health().state, HealthState::ok);
}

TEST_F(RbdTargetTest, TheImageShrinks) {  // T8.9
  ASSERT_TRUE(start().ok());
  stub_.change_size(kImageBytes / 2);
  EXPECT_TRUE(soon([&] { return target_->health().state == HealthState::failed; }));
  EXPECT_EQ(write(kImageBytes - 4096, data_).error(), EIO);
  EXPECT_EQ(read(kImageBytes / 2, data_).error(), EIO);
  EXPECT_TRUE(read(0, data_).ok());
  EXPECT_FALSE(target_->resize(std::nullopt));
  stub_.change_size(kImageBytes);
  EXPECT_TRUE(soon([&] { return target_->health().state == HealthState::ok; }));
}

TEST_F(RbdTargetTest, NothingIsCalledAfterTheEnd) {  // T8.10
  ASSERT_TRUE(start().ok());
  ASSERT_TRUE(stop().ok()) << why_;
  EXPECT_EQ(stub_.calls("rbd_update_unwatch"), stub_.calls("rbd_update_watch"));
  stub_.change_size(kImageBytes / 2);
  EXPECT_EQ(stub_.open_handles(), 0);
}

TEST_F(RbdTargetTest, NoWatchToEnd) {  // T8.10
  stub_.set_result("rbd_update_watch", -EIO);
  EXPECT_EQ(start().error(), EIO);
  EXPECT_EQ(stub_.calls("rbd_update_unwatch"), 0);
}

TEST_F(RbdTargetTest, OpeningThatHangsIsLeft) {  // T8.7, T8.11
  ASSERT_TRUE(look().ok());
  stub_.set_delay("rbd_open", 1500ms);
  const auto begin = Clock::now();
  EXPECT_EQ(start(800ms).error(), ETIMEDOUT);
  EXPECT_LT(Clock::now() - begin, 1400ms);
  EXPECT_TRUE(soon([&] { return stub_.calls("rbd_close") == 3; })) << "it is closed once it opens";
}

TEST_F(RbdTargetTest, RequestsEndOnThreadsOfTheLibrary) {  // T8.12
  ASSERT_TRUE(start().ok());
  stub_.hold();
  std::thread later([&] {
    std::this_thread::sleep_for(100ms);
    stub_.release();
  });
  EXPECT_TRUE(write(0, data_).ok());
  later.join();
}

TEST_F(RbdTargetTest, SizesThatNoImageHas) {  // T8.13
  for (const uint64_t bytes : {0U, 1U, 5000U}) {
    stub_.object_bytes = bytes;
    EXPECT_EQ(look().error(), EINVAL) << bytes;
  }
  stub_.object_bytes = 4 << 20;
  stub_.change_size(100);
  EXPECT_EQ(look().error(), EINVAL);
  EXPECT_NE(why_.find("is empty"), std::string::npos) << why_;
}

TEST_F(RbdTargetTest, EachStepMayFail) {  // T8.14
  for (const char* step :
       {"rados_create", "rados_conf_read_file", "rados_connect", "rados_ioctx_create",
        "rbd_open_read_only", "rbd_stat", "rbd_get_features", "rbd_open", "rbd_lock_acquire"}) {
    stub_.set_result(step, -EIO);
    EXPECT_FALSE(start().ok()) << step;
    EXPECT_FALSE(why_.empty()) << step;
    EXPECT_EQ(stub_.open_handles(), 0) << step;
    stub_.set_result(step, 0);
  }
  EXPECT_TRUE(start().ok()) << why_;
}

TEST_F(RbdTargetTest, LooksWithoutALock) {  // T8.16
  ASSERT_TRUE(look().ok());
  EXPECT_EQ(stub_.calls("rbd_open"), 0);
  EXPECT_EQ(stub_.calls("rbd_open_read_only"), 1);
  EXPECT_EQ(stub_.calls("rbd_lock_acquire"), 0);
}

TEST_F(RbdTargetTest, SnapshotsAreOnlyRead) {
  snapshot_ = true;
  make({});
  ASSERT_TRUE(start().ok());
  EXPECT_EQ(stub_.calls("rbd_open"), 0);
  EXPECT_EQ(stub_.calls("rbd_lock_acquire"), 0);
  EXPECT_EQ(write(0, data_).error(), EROFS);
  EXPECT_TRUE(read(0, data_).ok());
}

TEST_F(RbdTargetTest, TheLibraryKnowsTheTimeout) {  // T8.17
  ASSERT_TRUE(start().ok());
  EXPECT_EQ(stub_.option("rados_osd_op_timeout"), "7");
  EXPECT_EQ(stub_.option("rados_mon_op_timeout"), "7");
  EXPECT_EQ(number("timeout_seconds"), 7U);
  stub_.set_result("rbd_aio_readv", -ETIMEDOUT);
  EXPECT_EQ(read(0, data_).error(), ETIMEDOUT);
  EXPECT_EQ(target_->health().state, HealthState::degraded);
  EXPECT_EQ(number("timeouts"), 1U);
  stub_.set_result("rbd_aio_readv", 0);
  EXPECT_TRUE(read(0, data_).ok());
  EXPECT_EQ(target_->health().state, HealthState::ok);
  target_->note_end();
  EXPECT_EQ(stub_.option("rados_osd_op_timeout"), "3");
}

TEST_F(RbdTargetTest, ErrorsForClients) {
  ASSERT_TRUE(start().ok());
  for (const auto& [from, to] : {std::pair(ENOSPC, ENOSPC), {EDQUOT, EDQUOT}, {ENOENT, EIO}}) {
    stub_.set_result("rbd_aio_writev", -from);
    EXPECT_EQ(write(0, data_).error(), to);
  }
  EXPECT_EQ(target_->health().state, HealthState::ok);
}

TEST_F(RbdTargetTest, AnotherImageOfTheName) {
  ASSERT_TRUE(look().ok());
  stub_.id = "two";
  EXPECT_EQ(call(&Target::start, LifeCall::Purpose::serve).error(), ESTALE);
  EXPECT_TRUE(soon([&] { return stub_.open_handles() == 0; }));
}

TEST_F(RbdTargetTest, Holes) {
  ASSERT_TRUE(start().ok());
  ASSERT_TRUE(write(1 << 20, data_).ok());
  Extents found(kImageBytes);
  Request asked;
  const auto work = [&](Request& request) {
    asked = request.child(0, uint64_t{kImageBytes});
    return target_->extents(asked, found);
  };
  ASSERT_TRUE(control_->perform(work, Clock::now() + 20s).ok());
  ASSERT_EQ(found.list().size(), 3U);
  EXPECT_TRUE(found.list()[0].hole);
  EXPECT_EQ(found.list()[0].length, 1U << 20);
  EXPECT_FALSE(found.list()[1].hole);
  EXPECT_EQ(found.list()[1].length, 64U << 10);
  EXPECT_TRUE(found.list()[2].hole);
  EXPECT_TRUE(found.complete());
}

}  // namespace
}  // namespace sluice::test
