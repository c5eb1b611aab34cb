// Disks that a command opens, their maps and comparisons.
#include "image/open_disk.hpp"

#include <gmock/gmock.h>

#include "core/buffer.hpp"
#include "image/compare.hpp"
#include "image/map.hpp"
#include "support/work_folder.hpp"
#include "target/registry.hpp"

namespace sluice::image {
namespace {

using testing::HasSubstr;

constexpr uint64_t kMapPage = 4096;

Result<std::unique_ptr<OpenDisk>> try_open(std::string_view text, OpenDisk::Options options = {}) {
  const auto spec = parse_spec(text, target_vocabulary());
  EXPECT_TRUE(spec) << text;
  return OpenDisk::open(*spec, options);
}

std::unique_ptr<OpenDisk> open_disk(std::string_view text) {
  auto disk = try_open(text, {.writable = true});
  EXPECT_TRUE(disk) << disk.error().text;
  return std::move(*disk);
}

void fill(OpenDisk& disk, uint64_t offset, uint64_t length, uint8_t value) {
  const Buffer memory(length);
  std::ranges::fill(memory.bytes(), std::byte{value});
  EXPECT_TRUE(disk.write(offset, memory.bytes()).ok());
}

struct Part {
  uint64_t offset;
  uint64_t length;
  bool hole;
  bool operator==(const Part&) const = default;
};

std::vector<Part> parts_of(OpenDisk& disk, uint64_t begin, uint64_t end,
                           Detail detail = Detail::content) {
  std::vector<Part> parts;
  const auto take = [&](uint64_t offset, const Extent& each) {
    parts.push_back({offset, each.length, each.hole});
  };
  EXPECT_TRUE(map_disk(disk, begin, end, detail, take));
  return parts;
}

TEST(OpenDisk, IsReadAndWritten) {
  const auto disk = open_disk("mem:1M");
  EXPECT_EQ(disk->size_bytes(), 1U << 20);
  EXPECT_EQ(disk->name(), "mem:1M");
  fill(*disk, kMapPage, kMapPage, 5);
  const Buffer memory(2 * kMapPage);
  ASSERT_TRUE(disk->read(0, memory.bytes()).ok());
  EXPECT_EQ(memory.bytes()[kMapPage - 1], std::byte{0});
  EXPECT_EQ(memory.bytes()[kMapPage], std::byte{5});
  EXPECT_TRUE(disk->write_zeroes(kMapPage, kMapPage).ok());
  EXPECT_TRUE(disk->discard(0, kMapPage).ok());
  EXPECT_TRUE(disk->flush().ok());
  ASSERT_TRUE(disk->read(0, memory.bytes()).ok());
  EXPECT_EQ(memory.bytes()[kMapPage], std::byte{0});
}

TEST(OpenDisk, ErrorsNameTheSpec) {
  const auto missing = try_open("linear(mem:1M, nowhere.img)");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().text, HasSubstr("nowhere.img"));
  EXPECT_THAT(missing.error().text, HasSubstr("linear("));
  const auto refused = try_open("qcow2(null:1M)", {.writable = true});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text, HasSubstr("qcow2(null:1M)"));
  const auto failing = open_disk("fault(mem:1M, errors=1)");
  const Buffer memory(kMapPage);
  const Status status = failing->read(512, memory.bytes());
  EXPECT_EQ(status.error(), EIO);
  EXPECT_EQ(failing->explain("read", 512, status).text,
            "cannot read 'fault(mem:1M, errors=1)' at offset 512: Input/output error");
}

TEST(OpenDisk, ReachesToTheLastByteOfAFile) {
  const test::WorkFolder folder;
  std::vector<std::byte> bytes(10001, std::byte{7});
  folder.write("odd", bytes);
  const auto disk = try_open(folder.path() + "/odd", {.unlocked = true});
  ASSERT_TRUE(disk) << disk.error().text;
  EXPECT_EQ((*disk)->size_bytes(), 10001U);
  const auto parts = parts_of(**disk, 0, 10001);
  ASSERT_FALSE(parts.empty());
  EXPECT_EQ(parts.back().offset + parts.back().length, 10001U);
  const Buffer memory(10001);
  EXPECT_TRUE((*disk)->read(0, memory.bytes()).ok());
  EXPECT_EQ(memory.bytes()[10000], std::byte{7});
}

TEST(MapDisk, NeighboursAreJoinedAndBothEndsCut) {
  const auto disk = open_disk("linear(mem:64k, mem:64k)");
  fill(*disk, 60 << 10, 8 << 10, 1);
  using Parts = std::vector<Part>;
  EXPECT_EQ(parts_of(*disk, 0, 128 << 10),
            (Parts{{0, 60 << 10, true}, {60 << 10, 8 << 10, false}, {68 << 10, 60 << 10, true}}));
  EXPECT_EQ(parts_of(*disk, 62 << 10, (64 << 10) + 100),
            (Parts{{62 << 10, (2 << 10) + 100, false}}));
  EXPECT_EQ(parts_of(*disk, 5, 5), Parts{});
  EXPECT_EQ(parts_of(*disk, 0, 128 << 10, Detail::places).size(), 4U) << "in two files";
}

// More extents than one answer has.
TEST(MapDisk, GoesOnAfterEachAnswer) {
  const auto disk = open_disk("mem:4M");
  for (uint64_t page = 1; page < 1000; page += 2) fill(*disk, page * kMapPage, kMapPage, 1);
  const auto parts = parts_of(*disk, 0, 4 << 20);
  ASSERT_EQ(parts.size(), 1001U);
  EXPECT_EQ(parts[999], (Part{999 * kMapPage, kMapPage, false}));
}

Comparison compare(OpenDisk& one, OpenDisk& other, bool strict = false) {
  const auto found = compare_disks(one, other, {.strict = strict});
  EXPECT_TRUE(found) << found.error().error.text;
  return *found;
}

TEST(CompareDisks, FindsTheFirstDifference) {
  const auto one = open_disk("mem:64M");
  const auto other = open_disk("linear(mem:30M, mem:34M)");
  for (const auto& disk : {one.get(), other.get()}) {
    for (uint64_t offset = 0; offset < 64 << 20; offset += 5 << 20) {
      fill(*disk, offset, 3 << 20, static_cast<uint8_t>(offset >> 20));
    }
  }
  EXPECT_EQ(compare(*one, *other).difference, Difference::none);
  EXPECT_EQ(compare(*one, *other, true).difference, Difference::none);
  fill(*other, (50 << 20) + kMapPage, kMapPage, 1);
  fill(*one, (20 << 20) + 3 * kMapPage, kMapPage, 2);
  for (const bool strict : {false, true}) {
    const Comparison found = compare(*one, *other, strict);
    EXPECT_EQ(found.difference, Difference::content);
    EXPECT_EQ(found.offset, (20U << 20) + 3 * kMapPage);
    EXPECT_EQ(compare(*other, *one, strict).offset, found.offset);
  }
}

TEST(CompareDisks, WhatOnlyOneOfThemHasIsToBeZero) {
  const auto one = open_disk("mem:8M");
  const auto other = open_disk("mem:8M");
  fill(*one, 3 << 20, 2 << 20, 0);
  EXPECT_EQ(compare(*one, *other).difference, Difference::none);
  EXPECT_EQ(compare(*other, *one, true).difference, Difference::status);
  EXPECT_EQ(compare(*other, *one, true).offset, 3U << 20);
  fill(*one, 4 << 20, kMapPage, 1);
  EXPECT_EQ(compare(*other, *one).offset, 4U << 20);
}

TEST(CompareDisks, TheLongerOneGoesOnWithZeroes) {
  const auto one = open_disk("mem:5M");
  const auto longer = open_disk("mem:9M");
  EXPECT_TRUE(compare(*one, *longer).is_longer_with_zeroes);
  EXPECT_EQ(compare(*longer, *one, true).difference, Difference::size);
  fill(*longer, 8 << 20, kMapPage, 0);
  EXPECT_EQ(compare(*longer, *one).difference, Difference::none);
  fill(*longer, (8 << 20) + kMapPage, kMapPage, 1);
  EXPECT_EQ(compare(*one, *longer).offset, (8U << 20) + kMapPage);
}

TEST(CompareDisks, AReadThatFailsIsNoDifference) {
  const auto one = open_disk("fault(mem:8M, errors=1)");
  const auto other = open_disk("mem:8M");
  const auto found = compare_disks(*one, *other, {});
  ASSERT_FALSE(found);
  EXPECT_TRUE(found.error().is_read);
  EXPECT_THAT(found.error().error.text, HasSubstr("cannot read 'fault"));
}

}  // namespace
}  // namespace sluice::image
