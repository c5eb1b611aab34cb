// RegisterUseRelease if the kernel has no links: the three commands run one after the other. The
// linked form is tested in tests/conformance/ublk_buffers_test.cpp.
#include "frontend/ublk/register_use_release.hpp"

#include <gmock/gmock.h>

#include "frontend/ublk/abi.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"

namespace sluice::test {
namespace {

using testing::ElementsAre;

class RegisterUseReleaseTest : public testing::Test {
 protected:
  void SetUp() override { ring_.change_abilities({}); }

  Task run(Request& request) {
    io_uring_sqe use{};
    use.opcode = IORING_OP_WRITE_FIXED;
    ublk::RegisterUseRelease command(
        ring_, {.char_device = {.number = 7}, .queue = 1, .tag = 2, .slot = 3}, use);
    answer_ = co_await command;
    results_ = command.results();
    co_return kOk;
  }

  ManualRing ring_;
  TestTag tag_{ring_};
  int32_t answer_ = 0;
  std::array<int32_t, 3> results_{};
};

TEST_F(RegisterUseReleaseTest, OneAfterTheOther) {
  const Task task = run(tag_.make(Op::flush, 0, 0));
  ring_.settle();
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).cmd_op, ublk::abi::kRegisterIoBuf);
  ring_.complete(0, 0);
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).opcode, IORING_OP_WRITE_FIXED);
  EXPECT_EQ(ring_.sqe(0).flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK), 0);
  ring_.complete(0, -EIO);
  ASSERT_EQ(ring_.pending(), 1U);
  EXPECT_EQ(ring_.sqe(0).cmd_op, ublk::abi::kUnregisterIoBuf);
  ring_.complete(0, 0);
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(answer_, -EIO);
  EXPECT_THAT(results_, ElementsAre(0, -EIO, 0));
}

TEST_F(RegisterUseReleaseTest, NothingIsDoneWithoutTheBuffer) {
  const Task task = run(tag_.make(Op::flush, 0, 0));
  ring_.settle();
  ring_.complete(0, -EBUSY);
  EXPECT_EQ(ring_.pending(), 0U);
  ASSERT_TRUE(task.finished());
  EXPECT_EQ(answer_, -EBUSY);
  EXPECT_THAT(results_, ElementsAre(-EBUSY, -ECANCELED, -ECANCELED));
}

}  // namespace
}  // namespace sluice::test
