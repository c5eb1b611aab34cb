// RingLocal: one object per ring, found by the ring.
#include "ring/ring_local.hpp"

#include <gtest/gtest.h>

#include <optional>

#include "support/manual_ring.hpp"

namespace sluice::test {
namespace {

struct Counted final : RingResident {
  explicit Counted(int& count) : alive(count) { ++alive; }
  ~Counted() override { --alive; }
  int& alive;
};

TEST(RingLocal, IsFoundOnItsRingOnly) {
  int alive = 0;
  ManualRing first;
  ManualRing second;
  RingLocal<Counted> local;
  EXPECT_EQ(local.of(first), nullptr);
  local.put(first, std::make_unique<Counted>(alive));
  EXPECT_NE(local.of(first), nullptr);
  EXPECT_EQ(local.of(second), nullptr);
  EXPECT_EQ(local.take(second), nullptr);
  EXPECT_NE(local.take(first), nullptr);
  EXPECT_EQ(local.of(first), nullptr);
  EXPECT_EQ(alive, 0);
}

TEST(RingLocal, SeveralHaveTheirOwnOnOneRing) {
  int alive = 0;
  ManualRing ring;
  RingLocal<Counted> one;
  std::optional<RingLocal<Counted>> other(std::in_place);
  one.put(ring, std::make_unique<Counted>(alive));
  EXPECT_EQ(other->of(ring), nullptr);
  other->put(ring, std::make_unique<Counted>(alive));
  EXPECT_NE(one.of(ring), other->of(ring));
  other->take(ring);
  EXPECT_NE(one.of(ring), nullptr);
  other.emplace();
  EXPECT_EQ(other->of(ring), nullptr) << "its number was another one's before";
}

TEST(RingLocal, ARingDestroysWhatIsLeftOnIt) {
  int alive = 0;
  RingLocal<Counted> local;
  {
    ManualRing ring;
    local.put(ring, std::make_unique<Counted>(alive));
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace sluice::test
