// A mirror that grows, with the power of its legs cut at any moment (T3.11): afterwards it has the
// size before or the new one, what was flushed is there, and its legs become equal.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "frontend/direct/device.hpp"
#include "model/mirror_disks.hpp"
#include "support/volatile_disk.hpp"
#include "target/mirror/mirror.hpp"
#include "target/stack.hpp"
#include "unit/target/mirror/mirror_rig.hpp"

namespace sluice::test {
namespace {

using LegBytes = std::vector<std::byte>;

constexpr uint64_t kBefore = 1 << 20;
constexpr uint64_t kAfter = (2 << 20) + 4096;
constexpr uint64_t kPiece = 8192;
constexpr std::byte kFirst{0x11};
constexpr std::byte kSecond{0x22};
constexpr MirrorShape kShape{.legs = 3, .data_bytes = kBefore};

struct GrowthCut {
  std::vector<LegBytes> legs;
  bool has_grown = false;  // resize() has returned
  bool has_second = false;
};

// A mirror of disks on real reactors. A power cut is looked at with every event of a disk.
class GrowingMirror {
 public:
  explicit GrowingMirror(const std::vector<LegBytes>& legs, uint64_t seed)
      : power_(seed), random_(seed) {
    Spec spec{.target = "mirror"};
    Target::Children children;
    for (const LegBytes& leg : legs) {
      auto disk = std::make_unique<VolatileDisk>(power_, leg.size(), seed % 2 == 0);
      disk->load(leg);
      disks.push_back(disk.get());
      children.push_back(std::move(disk));
      spec.children.push_back(MirrorRig::spec_of_leg(spec.children.size()));
    }
    stack = std::make_unique<Stack>(
        std::make_unique<mirror::Mirror>(std::move(children), spec, mirror::MirrorOptions{}));
    const auto started = stack->start();
    EXPECT_TRUE(started) << started.error().text;
  }
  ~GrowingMirror() { stop(); }

  void watch() {
    const std::scoped_lock guard(power_.mutex);
    power_.on_event = [this] { note_cut(); };
  }
  void note(bool GrowthCut::* what) {
    const std::scoped_lock guard(power_.mutex);
    now_.*what = true;
  }
  void stop() {
    {
      const std::scoped_lock guard(power_.mutex);
      power_.on_event = nullptr;
    }
    stack->stop();
  }

  std::unique_ptr<Stack> stack;
  std::vector<VolatileDisk*> disks;
  std::vector<GrowthCut> cuts;

 private:
  void note_cut() {
    if (cuts.size() == 200) return;
    GrowthCut& cut = cuts.emplace_back(now_);
    for (const VolatileDisk* const disk : disks) {
      cut.legs.push_back(disk->after_cut(VolatileDisk::Left::any, random_));
    }
  }

  Power power_;
  std::mt19937_64 random_;
  GrowthCut now_;
};

void check_cut(const GrowthCut& cut) {
  MirrorRig rig(kShape, cut.legs);
  ASSERT_EQ(rig.start(), "");
  const uint64_t size = rig.mirror->geometry().size_bytes;
  EXPECT_TRUE(size == kAfter || (size == kBefore && !cut.has_grown)) << size;
  ASSERT_EQ(rig.serve(Op::read, 0, kPiece), 0);
  EXPECT_TRUE(std::ranges::all_of(rig.memory(), [](std::byte each) { return each == kFirst; }));
  if (cut.has_second) {
    ASSERT_EQ(rig.serve(Op::read, kAfter - kPiece, kPiece), 0);
    EXPECT_TRUE(std::ranges::all_of(rig.memory(), [](std::byte each) { return each == kSecond; }));
  }
  rig.make_whole();
  const auto legs = rig.contents();
  for (const LegBytes& leg : legs) {
    const uint64_t offset = rig.record(0).places.data_offset;
    EXPECT_TRUE(std::ranges::equal(std::span(leg).subspan(offset, size),
                                   std::span(legs.front()).subspan(offset, size)));
  }
}

TEST(MirrorGrowth, ACutAtAnyMomentLeavesTheOldSizeOrTheNewOne) {
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    GrowingMirror mirror(make_mirror_legs(kShape), seed);
    auto device = direct::Device::create(*mirror.stack, {.queues = 1, .depth = 4});
    ASSERT_TRUE(device) << device.error().text;
    const LegBytes first(kPiece, kFirst);
    const LegBytes second(kPiece, kSecond);
    ASSERT_EQ((*device)->write(0, first).error(), 0);
    ASSERT_EQ((*device)->flush().error(), 0);
    mirror.watch();
    const auto grown = mirror.stack->resize(kAfter);
    ASSERT_TRUE(grown) << grown.error().text;
    EXPECT_EQ(*grown, kAfter);
    mirror.note(&GrowthCut::has_grown);
    ASSERT_EQ((*device)->write(kAfter - kPiece, second).error(), 0);
    ASSERT_EQ((*device)->flush().error(), 0);
    mirror.note(&GrowthCut::has_second);
    ASSERT_EQ((*device)->flush().error(), 0);
    device->reset();
    mirror.stop();
    EXPECT_GT(mirror.cuts.size(), 20U);
    for (const GrowthCut& cut : mirror.cuts) {
      check_cut(cut);
      if (HasFailure()) return;
    }
  }
}

TEST(MirrorGrowth, ALegThatCannotGrowKeepsTheSize) {
  GrowingMirror mirror(make_mirror_legs(kShape), 2);
  mirror.disks[1]->most_bytes = kBefore + kMirrorMetadataRoom;
  const auto grown = mirror.stack->resize(kAfter);
  ASSERT_FALSE(grown);
  EXPECT_EQ(grown.error().error, ENOSPC);
  EXPECT_TRUE(grown.error().text.starts_with("leg 2 (")) << grown.error().text;
  EXPECT_EQ(mirror.stack->geometry().size_bytes, kBefore);
}

TEST(MirrorGrowth, ALegThatIsAwayHasASizeThatNobodyKnows) {
  GrowingMirror mirror(make_mirror_legs(kShape), 2);
  Spec verb{.target = "fail"};
  verb.set("leg", "3");
  ASSERT_TRUE(mirror.stack->control("/", verb));
  const auto grown = mirror.stack->resize(kAfter);
  ASSERT_FALSE(grown);
  EXPECT_EQ(grown.error().error, EBUSY);
}

TEST(MirrorGrowth, MetadataAtTheEndDoesNotMove) {
  MirrorShape shape = kShape;
  shape.placement = mirror::Placement::end;
  GrowingMirror mirror(make_mirror_legs(shape), 2);
  const auto grown = mirror.stack->resize(kAfter);
  ASSERT_FALSE(grown);
  EXPECT_EQ(grown.error().error, EOPNOTSUPP);
}

}  // namespace
}  // namespace sluice::test
