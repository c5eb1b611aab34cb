#include "lend/consumer.hpp"

#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"

namespace sluice::test {
namespace {

constexpr lend::Write kWrite{.file = {.number = 5}};
constexpr lend::Read kRead{.file = {.number = 5}};

class ConsumptionOnManualRing : public testing::Test {
 protected:
  ManualRing ring_;
  TestTag tag_{ring_};
  std::vector<std::byte> memory_ = std::vector<std::byte>(4096);
};

TEST_F(ConsumptionOnManualRing, AFileThatEndsIsAnErrorAndItsCqeSaysHowFar) {
  Request& request = tag_.make(Op::read, 0, memory_);
  lend::Consumption nothing(request.data, kRead);
  const Task first = nothing.run(request);
  lend::Consumption some(request.data, kRead);
  const Task second = some.run(request);
  ring_.settle();
  ring_.complete(0, 0);
  ring_.complete(0, 1000);
  ring_.complete(0, 0);
  EXPECT_EQ(first.status().error(), ENODATA);
  EXPECT_EQ(nothing.result(), 0);
  EXPECT_EQ(second.status().error(), ENODATA);
  EXPECT_EQ(some.result(), 1000);
}

TEST_F(ConsumptionOnManualRing, AFaultWithoutAnAddressIsAFileThatWantsOne) {
  Request& request = tag_.make(Op::write, 0, memory_, 3);
  lend::Consumption writing(request.data, kWrite);
  const Task task = writing.run(request);
  ring_.settle();
  ring_.complete(0, -EFAULT);
  EXPECT_EQ(task.status().error(), EOPNOTSUPP);
  EXPECT_EQ(writing.result(), -EOPNOTSUPP);
}

TEST_F(ConsumptionOnManualRing, AnyOtherFaultStaysOne) {
  {
    Request& request = tag_.make(Op::write, 0, memory_);
    lend::Consumption writing(request.data, kWrite);
    const Task task = writing.run(request);
    ring_.settle();
    ring_.complete(0, -EFAULT);
    EXPECT_EQ(task.status().error(), EFAULT);
  }
  Request& without_address = tag_.make(Op::write, 0, memory_, 3);
  const std::array<Segment, 1> beyond{{{4000, 100}}};
  lend::Consumption vectored(without_address.data,
                             lend::Writev{.file = kWrite.file, .pieces = beyond});
  const Task refused = vectored.run(without_address);
  EXPECT_EQ(refused.status().error(), EFAULT);
}

TEST_F(ConsumptionOnManualRing, IsCancelledAndGivesItsReferenceBack) {
  {
    Request& request = tag_.make(Op::write, 0, memory_);
    lend::Consumption sending(request.data, lend::Send{.socket = {.number = 5}});
    sending.cancel(ring_);  // nothing to cancel yet
    const Task task = sending.run(request);
    ring_.settle();
    ring_.complete(0, 1000);
    ASSERT_EQ(ring_.pending(), 1U);
    sending.cancel(ring_);
    ring_.settle();
    ring_.perform(1);
    EXPECT_EQ(task.status().error(), ECANCELED);
    EXPECT_EQ(sending.result(), 1000);
    EXPECT_EQ(ring_.pending(), 0U);
  }
  tag_.finish();
  EXPECT_EQ(tag_.returned_count, 1);
}

}  // namespace
}  // namespace sluice::test
