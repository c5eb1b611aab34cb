// The data and holes that targets report, compared with the ranges that were written.
#include "core/extents.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <set>

#include "frontend/direct/device.hpp"
#include "ring/offload.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kPage = 4096;

TEST(Extents, AlikeOnesAreJoined) {
  Extents found(1000);
  EXPECT_TRUE(found.add(100, kDataExtent));
  EXPECT_TRUE(found.add(0, kHoleExtent));
  EXPECT_TRUE(found.add(200, kDataExtent));
  EXPECT_TRUE(found.add(300, kHoleExtent));
  ASSERT_EQ(found.list().size(), 2U);
  EXPECT_EQ(found.list()[0].length, 300U);
  EXPECT_EQ(found.list()[1].length, 300U);
  EXPECT_EQ(found.covered_bytes(), 600U);
  EXPECT_FALSE(found.complete());
}

TEST(Extents, EndWithTheRange) {
  Extents found(1000);
  EXPECT_TRUE(found.add(UINT64_MAX, kHoleExtent));
  EXPECT_TRUE(found.complete());
  EXPECT_TRUE(found.add(10, kDataExtent));
  EXPECT_EQ(found.list().size(), 1U);
}

TEST(Extents, AreBounded) {
  Extents found(1 << 20);
  for (size_t i = 0; i < Extents::kMax; ++i) {
    EXPECT_TRUE(found.add(1, i % 2 == 0 ? kDataExtent : kHoleExtent));
  }
  EXPECT_FALSE(found.add(1, kDataExtent)) << "unlike the last one";
  EXPECT_TRUE(found.add(1, kHoleExtent));
  EXPECT_EQ(found.covered_bytes(), Extents::kMax + 1);
}

TEST(Extents, OfLayersAreToldApartByThem) {
  constexpr Extent kBelow{.depth = 1};
  constexpr Extent kPacked{.compressed = true};
  for (const Detail detail : {Detail::content, Detail::layers}) {
    Extents found(400, detail);
    for (const Extent& each : {kDataExtent, kBelow, kPacked, kDataExtent}) found.add(100, each);
    EXPECT_EQ(found.list().size(), detail == Detail::content ? 1U : 4U);
    EXPECT_EQ(found.list().back().depth, 0U);
  }
  Extents holes(200);
  holes.add(100, kHoleExtent);
  holes.add(100, kNothingExtent);
  ASSERT_EQ(holes.list().size(), 2U);
  EXPECT_TRUE(holes.list()[0].allocated_here());
  EXPECT_FALSE(holes.list()[1].allocated_here());
}

TEST(Extents, WithPlacesAreJoinedWhereTheFileGoesOn) {
  const auto at = [](uint64_t place, std::string_view file) {
    return Extent{.place = place, .file = file};
  };
  Extents found(600, Detail::places);
  found.add(100, at(1000, "a"));
  found.add(100, at(1100, "a"));
  found.add(100, at(1100, "a"));
  found.add(100, at(1200, "b"));
  found.add(100, kDataExtent);
  found.add(500, kDataExtent);
  ASSERT_EQ(found.list().size(), 4U);
  EXPECT_EQ(found.list()[0].length, 200U);
  EXPECT_EQ(found.list()[0].place, 1000U);
  EXPECT_EQ(found.list()[2].file, "b");
  EXPECT_EQ(found.list()[3].length, 200U);
  EXPECT_EQ(found.list()[0].part(50, 30).place, 1050U);
  EXPECT_EQ(found.list()[3].part(50, 30).place, Extent::kNoPlace);

  Extents places_dropped(200);
  places_dropped.add(100, at(1000, "a"));
  places_dropped.add(100, at(5000, "b"));
  EXPECT_EQ(places_dropped.list().size(), 1U);
}

// A stack, queried on a ring with offload threads.
class ExtentsOf {
 public:
  explicit ExtentsOf(std::string_view spec, bool with_threads = true)
      : threads_(std::move(*Offload::create(1))),
        stack_(std::move(*Stack::open(*parse_spec(spec, target_vocabulary()), false))),
        control_(std::move(*ControlReactor::start())) {
    if (!with_threads) return;
    const auto put = [this](Request& request) -> Task {
      RingOffload::put(*request.ring, *threads_);
      return kOk;
    };
    EXPECT_TRUE(perform(put).ok());
  }

  Status ask(uint64_t offset, uint64_t length, Extents& found) {
    const auto ask = [&](Request& request) {
      request.offset = offset;
      request.length = length;
      return stack_->root().extents(request, found);
    };
    return perform(ask);
  }
  // The pages of the stack that are holes. Each answer begins where the last one has ended.
  std::set<uint64_t> holes() {
    std::set<uint64_t> pages;
    const uint64_t size = stack_->geometry().size_bytes;
    for (uint64_t place = 0; place < size;) {
      Extents found(size - place);
      EXPECT_TRUE(ask(place, size - place, found).ok());
      if (found.covered_bytes() == 0) {
        ADD_FAILURE() << "no answer at " << place;
        break;
      }
      for (const Extent& each : found.list()) {
        for (uint64_t page = place; each.hole && page < place + each.length; page += kPage) {
          pages.insert(page / kPage);
        }
        EXPECT_EQ(each.hole, each.zero);
        EXPECT_TRUE(each.allocated_here());
        place += each.length;
      }
    }
    return pages;
  }
  Stack& stack() { return *stack_; }

 private:
  Status perform(ControlReactor::Work work) {
    return control_->perform(std::move(work),
                             ControlReactor::Clock::now() + std::chrono::seconds(60));
  }

  std::unique_ptr<Offload> threads_;
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<ControlReactor> control_;
};

// Pages are written through the stack; all others, and only they, are holes.
void expect_what_was_written(std::string_view spec) {
  SCOPED_TRACE(spec);
  ExtentsOf rig(spec);
  const uint64_t pages = rig.stack().geometry().size_bytes / kPage;
  std::set<uint64_t> holes;
  for (uint64_t page = 0; page < pages; ++page) holes.insert(page);
  EXPECT_EQ(rig.holes(), holes);
  auto device = direct::Device::create(rig.stack(), {});
  ASSERT_TRUE(device);
  std::mt19937 random(7);
  const std::vector<std::byte> page(kPage, std::byte{1});
  for (int i = 0; i < 150; ++i) {
    const uint64_t number = random() % pages;
    ASSERT_TRUE((*device)->write(number * kPage, page).ok());
    holes.erase(number);
  }
  EXPECT_EQ(rig.holes(), holes);
}

TEST(TargetExtents, AreWhatWasWritten) {
  expect_what_was_written("mem:2M");
  expect_what_was_written("linear(mem:1M, mem:512k, mem:1M)");
  expect_what_was_written("linear(mem:1M, mem:1M, offset=256k, size=1M)");
  expect_what_was_written("stripe(mem:1M, mem:1M, mem:1M, chunk=16k)");
  expect_what_was_written("stripe(linear(mem:512k, mem:512k), mem:1M, chunk=4k)");
  expect_what_was_written("linear(stripe(mem:256k, mem:256k, chunk=8k), mem:256k)");
}

TEST(TargetExtents, NullIsAHole) {
  ExtentsOf rig("null:1M");
  EXPECT_EQ(rig.holes().size(), 256U);
}

TEST(TargetExtents, WhatIsNotKnownIsData) {
  EXPECT_TRUE(ExtentsOf("fault(null:1M)").holes().empty());
  EXPECT_TRUE(ExtentsOf("mem:1M", /*with_threads=*/false).holes().empty()) << "nobody may wait";
}

TEST(TargetExtents, AreOfWholeBlocksInTheTarget) {
  ExtentsOf rig("null:1M");
  Extents found(4096);
  EXPECT_EQ(rig.ask(100, 4096, found).error(), EINVAL);
  EXPECT_EQ(rig.ask(1 << 20, 4096, found).error(), EINVAL);
  EXPECT_TRUE(rig.ask((1 << 20) - 4096, 4096, found).ok());
}

// Blocks of 4096 bytes that begin at 1 KiB of the file: a block with one byte of data is data.
TEST(TargetExtents, ABlockThatIsDataInPartIsData) {
  const auto path = std::filesystem::temp_directory_path() / "sluice-extents";
  {
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
    ASSERT_GE(file, 0);
    ASSERT_EQ(ftruncate(file, 1 << 20), 0);
    const char byte = 1;
    ASSERT_EQ(pwrite(file, &byte, 1, 64 << 10), 1);  // its page is data
    close(file);
  }
  ExtentsOf rig(fmt::format("loop(file={}, offset=1024, size=512k)", path.string()));
  Extents found(512 << 10);
  ASSERT_TRUE(rig.ask(0, 512 << 10, found).ok());
  const uint64_t block = rig.stack().geometry().logical_block_bytes;
  uint64_t place = 0;
  for (const Extent& each : found.list()) {
    EXPECT_EQ(each.length % block, 0U);
    const uint64_t byte = (64 << 10) - 1024;
    if (place <= byte && byte < place + each.length) EXPECT_FALSE(each.hole);
    place += each.length;
  }
  EXPECT_EQ(place, 512U << 10);
  EXPECT_GE(found.list().size(), 2U);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace sluice::test
