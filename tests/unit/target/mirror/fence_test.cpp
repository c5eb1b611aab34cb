// mirror: a server whose leg was taken over by another one writes nothing any more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "unit/target/mirror/mirror_rig.hpp"

namespace sluice::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Bytes = MirrorRig::Bytes;

constexpr uint64_t kWriteBytes = 8192;
constexpr std::byte kOurs{0x61};
constexpr std::byte kTheirs{0x62};

// What becomes of a leg that another server is started with alone.
Bytes served_elsewhere(const Bytes& leg, bool is_written) {
  MirrorRig other({}, {Bytes(), leg}, {.degraded = true});
  EXPECT_EQ(other.start(), "");
  if (is_written) EXPECT_EQ(other.serve(Op::write, 0, kWriteBytes, kTheirs), 0);
  other.stop();
  return other.contents()[1];
}

void expect_fenced(MirrorRig& rig, const mirror::LegRecord& theirs) {
  const Health health = rig.mirror->health();
  EXPECT_EQ(health.state, HealthState::failed);
  EXPECT_THAT(health.reason, AllOf(HasSubstr("fenced"), HasSubstr(theirs.owner.host),
                                   HasSubstr(theirs.owner.token.text())));
  const auto before = rig.contents();
  EXPECT_EQ(rig.serve(Op::write, 0, kWriteBytes, kOurs), EIO);
  EXPECT_EQ(rig.serve(Op::write, 1 << 19, kWriteBytes, kOurs), EIO);
  EXPECT_EQ(rig.serve(Op::flush, 0, 0), EIO);
  EXPECT_EQ(rig.control("scrub"), EIO);
  EXPECT_THAT(rig.why(), HasSubstr("fenced"));
  EXPECT_EQ(rig.contents(), before);
  EXPECT_EQ(rig.serve(Op::read, 0, kWriteBytes), 0);
  EXPECT_EQ(rig.memory(), Bytes(kWriteBytes, kOurs));
}

TEST(MirrorFence, ALegThatWasTakenOverEndsAllWrites) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.control("fail(2)"), 0) << rig.why();
  ASSERT_EQ(rig.serve(Op::write, 0, kWriteBytes, kOurs), 0);
  const Bytes taken = served_elsewhere(rig.contents()[1], true);
  rig.disks[1]->load(taken);
  const mirror::LegRecord theirs = rig.record(1);
  EXPECT_NE(theirs.owner, rig.record(0).owner);
  EXPECT_EQ(rig.control("readd(2)"), EIO);
  EXPECT_THAT(rig.why(), HasSubstr("fenced"));
  expect_fenced(rig, theirs);
  EXPECT_EQ(rig.contents()[1], taken);
  rig.stop();
  EXPECT_EQ(rig.contents()[1], taken);
}

TEST(MirrorFence, ALegThatWasTakenOverEndsAllWritesWhenItReturnsByItself) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  rig.disks[1]->fails = [](const Request&) { return ENODEV; };
  ASSERT_EQ(rig.serve(Op::write, 0, kWriteBytes, kOurs), 0);
  const Bytes taken = served_elsewhere(rig.contents()[1], true);
  rig.disks[1]->load(taken);
  const mirror::LegRecord theirs = rig.record(1);
  rig.disks[1]->fails = nullptr;
  rig.perform_until([&] { return rig.mirror->health().state == HealthState::failed; });
  expect_fenced(rig, theirs);
  EXPECT_EQ(rig.contents()[1], taken);
}

// Whoever started it meanwhile has written nothing.
TEST(MirrorFence, ALegThatOthersOnlyStartedIsTakenBack) {
  MirrorRig rig({});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.control("fail(2)"), 0) << rig.why();
  ASSERT_EQ(rig.serve(Op::write, 0, kWriteBytes, kOurs), 0);
  rig.disks[1]->load(served_elsewhere(rig.contents()[1], false));
  ASSERT_EQ(rig.control("readd(2)"), 0) << rig.why();
  rig.make_whole();
  EXPECT_EQ(rig.record(0).owner, rig.record(1).owner);
}

// The user has started this server although the leg was away, and has not had it since.
TEST(MirrorFence, ALegThatWasWrittenApartBeforeIsRefusedAndNoMore) {
  const MirrorShape shape;
  auto legs = make_mirror_legs(shape);
  const Bytes apart = served_elsewhere(legs[1], true);
  legs[1].clear();
  MirrorRig rig(shape, legs, {.degraded = true});
  ASSERT_EQ(rig.start(), "");
  ASSERT_EQ(rig.serve(Op::write, 0, kWriteBytes, kOurs), 0);
  EXPECT_EQ(rig.add(MirrorRig::spec_of_leg(1), apart), EBUSY);
  EXPECT_THAT(rig.why(), HasSubstr("were written apart"));
  EXPECT_EQ(rig.serve(Op::write, 0, kWriteBytes, kOurs), 0);
  EXPECT_EQ(rig.serve(Op::flush, 0, 0), 0);
}

}  // namespace
}  // namespace sluice::test
