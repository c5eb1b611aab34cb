// Bitmaps in an image: what a power cut leaves at each write, and a failure of each request; images
// whose bitmaps are damaged.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "core/descriptor.hpp"
#include "target/control_call.hpp"
#include "target/life/life_call.hpp"
#include "target/qcow2/l2_entry.hpp"
#include "target/qcow2/offline/check.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/snapshot_table.hpp"
#include "unit/target/qcow2/image_rig.hpp"

namespace sluice::qcow2::test {
namespace {

constexpr uint64_t kGranule = 65536;
// QEMU's bitmap b0 has bits 1 and 17.
constexpr std::string_view kWithBitmap =
    "qemu-img bitmap --add -g 64k image.qcow2 b0 &&"
    " qemu-io -f qcow2 -c 'write 64k 512' -c 'write 1088k 4k' image.qcow2";

using Bytes = std::vector<std::byte>;

class Qcow2BitmapStore : public WithQemu {};

int control(ImageRig& rig, std::string_view verb, const std::string& name) {
  LifeRequest life(rig.ring);
  ControlCall call{.verb = {.target = std::string(verb)}};
  call.verb.set("name", name);
  call.verb.set("granularity", kGranule);
  Task task = rig.target->control(life.request, call);
  rig.ring.perform_all();
  EXPECT_TRUE(task.finished());
  EXPECT_EQ(task.status().ok(), call.why.empty()) << call.why;
  return task.status().error();
}

std::vector<BitmapEntry> bitmaps_of(const Bytes& image) {
  const auto header = parse_header(image, image.size());
  EXPECT_TRUE(header) << header.error().text;
  if (!header || !header->bitmaps) return {};
  const auto directory =
      std::span(image).subspan(header->bitmaps->directory_offset, header->bitmaps->directory_bytes);
  const auto entries = parse_bitmaps(directory, *header, image.size());
  EXPECT_TRUE(entries) << entries.error().text;
  return entries.value_or(std::vector<BitmapEntry>{});
}

// Of a bitmap of one cluster of bits.
std::set<uint64_t> bits_of(const Bytes& image, const BitmapEntry& bitmap) {
  std::set<uint64_t> bits;
  const uint64_t place = load_big_endian<uint64_t>(image, bitmap.table_offset) & kOffsetMask;
  for (uint64_t i = 0; place != 0 && i < 1024; ++i) {
    if ((std::to_integer<unsigned>(image.at(place + i / 8)) >> i % 8 & 1) != 0) bits.insert(i);
  }
  return bits;
}

// The contents have no corruption, and no bitmap that lacks one of the bits without saying so.
void judge(const Bytes& image, const std::set<uint64_t>& written) {
  const Descriptor file(memfd_create("cut", MFD_CLOEXEC));
  ASSERT_TRUE(write_image(file.number(), 0, image));
  const auto check = check_image(file.number());
  ASSERT_TRUE(check) << check.error().text;
  EXPECT_EQ(check->result.corruptions, 0U)
      << fmt::format("{}", fmt::join(check->result.sentences, ", "));
  EXPECT_EQ(check->result.check_errors, 0U);
  for (const BitmapEntry& each : bitmaps_of(image)) {
    if (each.in_use || each.name != "b0") continue;
    const auto bits = bits_of(image, each);
    EXPECT_TRUE(std::ranges::includes(bits, written)) << each.name;
  }
}

// b0 is loaded, follows writes, and is stored; others come and go. `written`: what b0 must have.
void change_everything(ImageRig& rig, std::set<uint64_t>& written) {
  if (rig.start() != 0) return;
  if (rig.write(7 * kGranule, kGranule, 2) != 0) return;
  written.insert(7);
  std::ignore = control(rig, "bitmap-add", "b1");
  std::ignore = control(rig, "bitmap-add", "b2");
  std::ignore = control(rig, "bitmap-remove", "b1");
  if (rig.discard(20 * kGranule, kGranule) == 0) written.insert(20);
  std::ignore = rig.write(200 * kGranule, 3 * kGranule, 3);
  std::ignore = rig.stop();
}

Bytes contents(ImageRig& rig, VolatileDisk::Left left, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  return rig.disk->after_cut(left, random);
}

TEST_F(Qcow2BitmapStore, ACutAtAnyWriteLeavesNoBitmapThatIsWrong) {
  for (const char* const options : {"16M", "-o cluster_size=4k,extended_l2=off 16M"}) {
    ImageRig rig({.options = options, .commands = std::string(kWithBitmap)});
    std::set<uint64_t> written = {1, 17};
    uint64_t events = 0;
    rig.power.on_event = [&] {
      const auto left = ++events % 4 == 0 ? VolatileDisk::Left::durable : VolatileDisk::Left::any;
      if (events % 6 == 0) judge(contents(rig, left, events), written);
    };
    change_everything(rig, written);
    rig.power.on_event = {};
    EXPECT_GT(events, 60U);
    EXPECT_EQ(rig.check(), "");
    const auto entries = bitmaps_of(contents(rig, VolatileDisk::Left::durable));
    ASSERT_EQ(entries.size(), 2U);
    EXPECT_EQ(entries[0].name, "b0");
    EXPECT_EQ(entries[1].name, "b2");
    EXPECT_FALSE(entries[0].in_use || entries[1].in_use);
    const std::set<uint64_t> expected = {1, 7, 17, 20, 200, 201, 202};
    EXPECT_EQ(bits_of(contents(rig, VolatileDisk::Left::durable), entries[0]), expected);
    EXPECT_EQ(bits_of(contents(rig, VolatileDisk::Left::durable), entries[1]),
              (std::set<uint64_t>{20, 200, 201, 202}));
  }
}

// Each request fails once. False: there were fewer.
bool fail_at(int index, int error) {
  ImageRig rig({.options = "16M", .commands = std::string(kWithBitmap)});
  int left = index;
  rig.on_request([&](const Request&) { return left-- == 0 ? error : 0; });
  std::set<uint64_t> written = {1, 17};
  change_everything(rig, written);
  const bool failed = left < 0;
  rig.disk->fails = nullptr;
  std::ignore = rig.stop();
  judge(contents(rig, VolatileDisk::Left::newest), written);
  if (rig.start() == 0) {
    EXPECT_EQ(rig.stop(), 0);
    judge(contents(rig, VolatileDisk::Left::newest), written);
  }
  return failed;
}

TEST_F(Qcow2BitmapStore, AFailureOfAnyRequestLeavesNoBitmapThatIsWrong) {
  for (const int error : {EIO, ENOSPC}) {
    // Every fourth request, others for each error: QEMU makes an image each time.
    for (int index = error == EIO ? 1 : 3; index < 300; index += 4) {
      SCOPED_TRACE(fmt::format("request {} fails with errno {}", index, error));
      if (!fail_at(index, error) || HasFailure()) break;
    }
  }
}

TEST_F(Qcow2BitmapStore, WithoutSpaceABitmapIsInconsistentAndTheDataIsThere) {
  ImageRig rig({.options = "-o cluster_size=4k 16M", .commands = std::string(kWithBitmap)});
  ASSERT_EQ(rig.start(), 0);
  ASSERT_EQ(rig.write(7 * kGranule, 512, 2), 0);
  rig.on_request([](const Request& request) {
    return request.op == Op::write && request.offset >= 64 << 10 ? ENOSPC : 0;
  });
  std::ignore = rig.stop();
  rig.disk->fails = nullptr;
  judge(contents(rig, VolatileDisk::Left::newest), {1, 7, 17});
  ASSERT_EQ(rig.start(), 0);
  EXPECT_TRUE(rig.has(7 * kGranule, 512, 2));
  EXPECT_EQ(rig.stop(), 0);
}

// --- Damage.

struct Places {
  uint64_t directory = 0;
  uint64_t table = 0;
  uint64_t bits = 0;
};

Places places_of(const Bytes& image) {
  const auto header = parse_header(image, image.size());
  Places places{.directory = header->bitmaps->directory_offset};
  places.table = load_big_endian<uint64_t>(image, places.directory);
  places.bits = load_big_endian<uint64_t>(image, places.table);
  return places;
}

// Loads the image after `damage`; returns the contexts that it has.
template <typename Damage>
std::vector<std::string> contexts_after(ImageRig& rig, Damage damage) {
  Bytes image = contents(rig, VolatileDisk::Left::newest);
  damage(image, places_of(image));
  rig.disk->load(image);
  EXPECT_EQ(rig.start(), 0);
  std::vector<std::string> contexts = rig.target->contexts();
  std::erase(contexts, "qemu:allocation-depth");
  return contexts;
}

TEST_F(Qcow2BitmapStore, ATableThatLeadsNowhereMakesItsBitmapInconsistent) {
  for (const uint64_t entry :
       {uint64_t{kGranule + 512}, uint64_t{1} << 56, uint64_t{1} << 40, uint64_t{2}}) {
    SCOPED_TRACE(entry);
    ImageRig rig({.options = "16M", .commands = std::string(kWithBitmap)});
    const auto contexts = contexts_after(rig, [&](Bytes& image, const Places& places) {
      store_big_endian(std::span(image), places.table, entry);
    });
    EXPECT_TRUE(contexts.empty());
    EXPECT_EQ(control(rig, "bitmap-clear", "b0"), EINVAL);
    EXPECT_EQ(control(rig, "bitmap-remove", "b0"), 0);
    EXPECT_EQ(control(rig, "bitmap-add", "b0"), 0);
    EXPECT_EQ(rig.stop(), 0);
    judge(contents(rig, VolatileDisk::Left::newest), {});
  }
}

TEST_F(Qcow2BitmapStore, PartsInOneClusterMakeAllInvalid) {
  const auto expect_none = [](auto damage) {
    ImageRig rig({.options = "16M", .commands = std::string(kWithBitmap)});
    EXPECT_TRUE(contexts_after(rig, damage).empty());
    EXPECT_EQ(control(rig, "bitmap-remove", "b0"), ENOENT);
    EXPECT_EQ(rig.write(0, kGranule, 4), 0);
    EXPECT_EQ(rig.stop(), 0);
    EXPECT_TRUE(bitmaps_of(contents(rig, VolatileDisk::Left::newest)).empty());
  };
  expect_none([](Bytes& image, const Places& places) {  // the bits in the directory
    store_big_endian(std::span(image), places.table, places.directory);
  });
  expect_none([](Bytes& image, const Places& places) {  // the bits in the L1 table
    store_big_endian(std::span(image), places.table, load_big_endian<uint64_t>(image, kL1OffsetAt));
  });
  expect_none([](Bytes& image, const Places& places) {  // the table in the L1 table
    store_big_endian(std::span(image), places.directory,
                     load_big_endian<uint64_t>(image, kL1OffsetAt));
  });
  expect_none([](Bytes& image, const Places& places) {  // no directory
    image[places.directory + 16] = std::byte{9};
  });
}

TEST_F(Qcow2BitmapStore, ATableOfOnesIsRead) {
  ImageRig rig({.options = "16M", .commands = std::string(kWithBitmap)});
  const auto contexts = contexts_after(rig, [](Bytes& image, const Places& places) {
    store_big_endian(std::span(image), places.table, uint64_t{1});
  });
  EXPECT_EQ(contexts, std::vector<std::string>{"qemu:dirty-bitmap:b0"});
  EXPECT_EQ(rig.write(0, 512, 2), 0);
  EXPECT_EQ(control(rig, "bitmap-add", "b1"), 0);
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(bitmaps_of(contents(rig, VolatileDisk::Left::newest)).size(), 2U);
}

}  // namespace
}  // namespace sluice::qcow2::test
