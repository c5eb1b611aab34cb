// RbdTarget: pages without an address go through buffers, a large request in pieces.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "ring/kernel_ring.hpp"
#include "support/test_tag.hpp"
#include "target/rbd/rbd_target.hpp"
#include "unit/target/rbd/stub_library.hpp"

namespace sluice::test {
namespace {

constexpr size_t kDiskBytes = 4 << 20;

class RbdCopyTest : public testing::Test {
 protected:
  void SetUp() override {
    auto ring = KernelRing::create({.entries = 64});
    if (!ring) GTEST_SKIP() << "there is no io_uring: " << ring.error().text;
    ring_ = std::move(*ring);
    tag_ = std::make_unique<TestTag>(*ring_);
    target_ = std::make_unique<rbd::RbdTarget>(
        stub_.table, rbd::Options{.name = *rbd::parse_image_name("pool/image")},
        rbd::Image::Files{});
    ASSERT_TRUE(perform(&Target::start).ok());
    ASSERT_TRUE(perform(&Target::attach).ok());
  }
  void TearDown() override {
    if (ring_ == nullptr) return;
    tag_.reset();
    EXPECT_TRUE(perform(&Target::detach).ok());
    EXPECT_TRUE(perform(&Target::stop).ok());
    EXPECT_EQ(stub_.open_handles(), 0);
    target_.reset();
  }

  Status perform(Task (Target::*step)(Request&, LifeCall&)) {
    LifeRequest life(*ring_);
    LifeCall call{.deadline = LifeCall::Clock::now() + std::chrono::seconds(20)};
    Task task = (target_.get()->*step)(life.request, call);
    return finish(task);
  }
  Status finish(Task& task) {
    while (!task.finished()) ring_->run_once(true);
    return task.status();
  }
  uint64_t copied() const {
    const Health health = target_->health();
    return std::ranges::find(health.numbers, "copied_bytes", &HealthNumber::name)->value;
  }

  StubLibrary stub_{kDiskBytes};
  std::unique_ptr<KernelRing> ring_;
  std::unique_ptr<TestTag> tag_;
  std::unique_ptr<rbd::RbdTarget> target_;
};

TEST_F(RbdCopyTest, Pipes) {
  std::mt19937_64 random(3);
  uint64_t sum = 0;
  for (const size_t length : {512U, 131072U, 131584U, 458752U}) {
    std::vector<std::byte> data(length);
    for (std::byte& each : data) each = static_cast<std::byte>(random());
    Request* const write = tag_->make_piped(Op::write, 4096, data);
    if (write == nullptr) GTEST_SKIP() << "this process may not make such pipes";
    {
      Task task = target_->submit(*write);
      ASSERT_TRUE(finish(task).ok()) << length;
    }
    EXPECT_TRUE(std::ranges::equal(data, std::span(stub_.image()).subspan(4096, length)));
    std::vector<std::byte> back(length);
    {
      Task task = target_->submit(*tag_->make_piped(Op::read, 4096, back));
      ASSERT_TRUE(finish(task).ok()) << length;
    }
    EXPECT_EQ(tag_->loan.filled_bytes(), length);
    tag_->collect(back);
    EXPECT_EQ(back, data) << length;
    sum += 2 * length;
  }
  EXPECT_EQ(copied(), sum);
}

TEST_F(RbdCopyTest, APieceFails) {
  std::vector<std::byte> data(458752);
  stub_.set_result("rbd_aio_writev", -ENOSPC);
  Request* const write = tag_->make_piped(Op::write, 0, data);
  if (write == nullptr) GTEST_SKIP() << "this process may not make such pipes";
  Task task = target_->submit(*write);
  EXPECT_EQ(finish(task).error(), ENOSPC);
}

}  // namespace
}  // namespace sluice::test
