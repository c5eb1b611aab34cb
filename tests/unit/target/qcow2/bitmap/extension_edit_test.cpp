// The steps that change the header extension of the bitmaps: after each, and within each that
// reaches over sectors, the header is sound, and leads to the old directory, the new one or none.
#include "target/qcow2/bitmap/extension_edit.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <string>

#include "unit/target/qcow2/image_bytes.hpp"

namespace sluice::qcow2::test {
namespace {

constexpr uint32_t kOther = 0x12345678;
constexpr uint64_t kEditedBytes = 64 * kCluster;

BitmapsExtension directory_at(uint64_t cluster, uint32_t count = 1) {
  return {.count = count, .directory_bytes = 32, .directory_offset = cluster * kCluster};
}

std::string data_of(const BitmapsExtension& place) {
  return big_endian_text(place.count, 8).substr(4) + std::string(4, '\0') +
         big_endian_text(place.directory_bytes, 8) + big_endian_text(place.directory_offset, 8);
}

class Edit {
 public:
  explicit Edit(std::vector<std::byte> start) : start_(std::move(start)) {}
  explicit Edit(const ImageBytes& image) : Edit(image.bytes()) {}

  // Carries out all steps; what it has in between is `before`, `after` or nothing.
  void run(const std::optional<BitmapsExtension>& wanted) {
    const auto before = place();
    const std::string name = header().backing_name;
    const auto expect_sound = [&](const Edit& now) {
      const Header found = now.header();
      EXPECT_EQ(found.backing_name, name);
      EXPECT_TRUE(!found.bitmaps || same(found.bitmaps, before) || same(found.bitmaps, wanted));
    };
    const auto steps = plan_extension(std::span(start_).first(4096), wanted);
    ASSERT_TRUE(steps) << steps.error().text;
    for (const HeaderStep& step : *steps) {
      // Torn between two sectors, in either order.
      const size_t end = step.place + step.bytes.size();
      const size_t cut = std::min((step.place / 512 + 1) * 512, end) - step.place;
      for (const bool first : {true, false}) {
        std::vector<std::byte> torn = start_;
        const auto begin = step.bytes.begin() + static_cast<long>(first ? 0 : cut);
        const auto until = first ? step.bytes.begin() + static_cast<long>(cut) : step.bytes.end();
        std::copy(begin, until, torn.begin() + static_cast<long>(step.place + (first ? 0 : cut)));
        expect_sound(Edit(torn));
      }
      std::ranges::copy(step.bytes, start_.begin() + static_cast<long>(step.place));
      expect_sound(*this);
    }
    EXPECT_TRUE(same(place(), wanted));
  }

  Header header() const {
    const auto header = parse_header(start_, kEditedBytes);
    EXPECT_TRUE(header) << header.error().text;
    return header.value_or(Header{});
  }
  std::optional<BitmapsExtension> place() const { return header().bitmaps; }

 private:
  static bool same(const std::optional<BitmapsExtension>& one,
                   const std::optional<BitmapsExtension>& other) {
    if (one.has_value() != other.has_value()) return false;
    return !one ||
           (one->count == other->count && one->directory_offset == other->directory_offset &&
            one->directory_bytes == other->directory_bytes);
  }

  std::vector<std::byte> start_;
};

// `before`: the length of another extension in front.
ImageBytes image_with(size_t before) {
  ImageBytes image;
  image.file_bytes(kEditedBytes);
  if (before != 0) image.extend(kOther, std::string(before, 'x'));
  return image;
}

TEST(Qcow2ExtensionEdit, AddsReplacesAndRemoves) {
  for (size_t before = 0; before < 1100; before += 8) {
    SCOPED_TRACE(before);
    Edit edit(image_with(before));
    edit.run(directory_at(5));
    edit.run(directory_at(9, 2));
    edit.run(std::nullopt);
    edit.run(directory_at(6));
    if (HasFailure()) break;
  }
}

TEST(Qcow2ExtensionEdit, TheNameOfTheBackingFileMakesRoom) {
  for (size_t before = 0; before < 1100; before += 8) {
    SCOPED_TRACE(before);
    ImageBytes image = image_with(before);
    image.extend(kBackingFormat, "raw");
    const std::string name(before % 700 + 1, 'n');
    const size_t place = image.end() + 8;
    image.put(place, name).put(kBackingOffsetAt, uint64_t{place});
    image.put(kBackingBytesAt, static_cast<uint32_t>(name.size()));
    Edit edit(image);
    edit.run(directory_at(5));
    EXPECT_EQ(edit.header().backing_name, name);
    edit.run(directory_at(7));
    edit.run(std::nullopt);
    EXPECT_EQ(edit.header().backing_name, name);
    EXPECT_EQ(edit.header().backing_format, "raw");
    if (HasFailure()) break;
  }
}

TEST(Qcow2ExtensionEdit, WhatFollowsTheExtensionStays) {
  ImageBytes image = image_with(0);
  image.put(kAutoclearAt, kBitmapsValid).extend(kBitmaps, data_of(directory_at(5)));
  image.extend(kDataFile, "data.raw");
  Edit edit(image);
  edit.run(std::nullopt);
  EXPECT_EQ(edit.header().data_file_name, "data.raw");
  edit.run(directory_at(8));
  EXPECT_EQ(edit.header().data_file_name, "data.raw");
}

// It has been left by a program that does not know bitmaps.
TEST(Qcow2ExtensionEdit, AnInvalidExtensionIsReplaced) {
  ImageBytes image = image_with(0);
  image.extend(kBitmaps, data_of(directory_at(5)));
  Edit edit(image);
  EXPECT_FALSE(edit.place());
  edit.run(directory_at(8));
}

TEST(Qcow2ExtensionEdit, NeedsRoom) {
  ImageBytes image = image_with(0);
  image.extend(kOther, std::string(3984, 'x'));
  auto plan = plan_extension(std::span(image.bytes()).first(4096), directory_at(5));
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().error, EINVAL) << plan.error().text;
  image = image_with(0);
  image.extend(kOther, std::string(3968, 'x'));
  plan = plan_extension(std::span(image.bytes()).first(4096), directory_at(5));
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().error, ENOSPC) << plan.error().text;
  EXPECT_THAT(plan.error().text, testing::HasSubstr("choose larger clusters"));
}

}  // namespace
}  // namespace sluice::qcow2::test
