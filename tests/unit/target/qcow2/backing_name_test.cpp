// The name of the backing file in a header: every power cut during a change leaves the old name and
// format, the new ones, or the new name alone, and everything else as it was.
#include "target/qcow2/backing_name.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string_view>

#include "core/big_endian.hpp"
#include "target/qcow2/header.hpp"

namespace sluice::qcow2::test {
namespace {

constexpr size_t kSector = 512;
constexpr uint32_t kBackingFormatExtension = 0xe2792aca;
constexpr uint32_t kStrangeExtension = 0x12345678;
constexpr std::string_view kStrange = "what nobody knows, but everybody keeps";

using Cluster = std::vector<std::byte>;

struct Layout {
  uint32_t version = 3;
  uint32_t cluster_bits = 16;
  std::string name = "base.qcow2";
  std::string format = "qcow2";
  bool format_is_last = false;
  size_t strange_bytes = kStrange.size();  // of the unknown extension; 0: none
  bool has_end_mark = true;
};

void put_extension(Cluster& start, size_t& place, uint32_t type, std::string_view data) {
  store_big_endian(std::span(start), place, type);
  store_big_endian(std::span(start), place + 4, static_cast<uint32_t>(data.size()));
  std::ranges::transform(data, start.begin() + static_cast<ptrdiff_t>(place) + 8,
                         [](char each) { return static_cast<std::byte>(each); });
  place += 8 + (data.size() + 7) / 8 * 8;
}

Cluster make_start(const Layout& layout) {
  Cluster start(size_t{1} << layout.cluster_bits);
  const std::span bytes(start);
  const uint64_t cluster = start.size();
  store_big_endian(bytes, 0, kMagic);
  store_big_endian(bytes, 4, layout.version);
  store_big_endian(bytes, 20, layout.cluster_bits);
  store_big_endian(bytes, 24, uint64_t{1} << 20);
  store_big_endian(bytes, 36, uint32_t{1024});
  store_big_endian(bytes, 40, 3 * cluster);
  store_big_endian(bytes, 48, cluster);
  store_big_endian(bytes, 56, uint32_t{1});
  size_t place = 72;
  if (layout.version == 3) {
    store_big_endian(bytes, 96, uint32_t{4});
    store_big_endian(bytes, 100, uint32_t{104});
    place = 104;
  }
  const auto put_format = [&] {
    if (!layout.format.empty()) put_extension(start, place, kBackingFormatExtension, layout.format);
  };
  if (!layout.format_is_last) put_format();
  std::string strange(kStrange);
  strange.resize(layout.strange_bytes, 'x');
  if (!strange.empty()) put_extension(start, place, kStrangeExtension, strange);
  if (layout.format_is_last) put_format();
  if (layout.has_end_mark) place += 8;
  if (layout.name.empty()) return start;
  store_big_endian(bytes, 8, uint64_t{place});
  store_big_endian(bytes, 16, static_cast<uint32_t>(layout.name.size()));
  std::ranges::transform(layout.name, start.begin() + static_cast<ptrdiff_t>(place),
                         [](char each) { return static_cast<std::byte>(each); });
  return start;
}

bool has_strange(const Cluster& start) {
  const auto same = [](std::byte byte, char each) { return byte == static_cast<std::byte>(each); };
  return std::ranges::search(start, kStrange, same).begin() != start.end();
}

struct Named {
  std::string name;
  std::string format;
  bool operator==(const Named&) const = default;
};

// EINVAL: it is no header any more.
Result<Named> named_by(const Cluster& start) {
  const auto header = parse_header(start, start.size() * 64 + (1 << 20));
  if (!header) return std::unexpected(header.error());
  if (header->backing_name.empty()) return Named{};
  return Named{header->backing_name, header->backing_format};
}

// Calls `look` with what each power cut may leave: of the write that was under way, each sector is
// there or not.
void cut_everywhere(Cluster start, const std::vector<HeaderWrite>& writes,
                    const std::function<void(const Cluster&)>& look) {
  look(start);
  for (const HeaderWrite& write : writes) {
    const size_t end = write.place + write.bytes.size();
    const size_t first = write.place / kSector;
    const size_t count = (end - 1) / kSector - first + 1;
    ASSERT_LT(count, 8U);
    for (size_t there = 0; there < size_t{1} << count; ++there) {
      Cluster torn = start;
      for (size_t byte = write.place; byte < end; ++byte) {
        if ((there >> (byte / kSector - first) & 1) == 0) continue;
        torn[byte] = write.bytes[byte - write.place];
      }
      look(torn);
      if (there + 1 == size_t{1} << count) start = torn;
    }
  }
}

void expect_change(const Layout& layout, const Named& wanted) {
  const Cluster start = make_start(layout);
  const auto before = named_by(start);
  ASSERT_TRUE(before) << before.error().text;
  const auto writes = plan_backing(start, wanted.name, wanted.format);
  ASSERT_TRUE(writes) << writes.error().text;
  Cluster last;
  const bool was_strange = has_strange(start);
  cut_everywhere(start, *writes, [&](const Cluster& left) {
    const auto now = named_by(left);
    ASSERT_TRUE(now) << now.error().text;
    const bool is_right = *now == *before || *now == wanted || *now == Named{wanted.name, ""};
    EXPECT_TRUE(is_right) << now->name << " " << now->format;
    EXPECT_EQ(has_strange(left), was_strange);
    EXPECT_EQ(load_big_endian<uint64_t>(std::span(left), 40), 3 * start.size());
    last = left;
  });
  EXPECT_EQ(*named_by(last), wanted);
}

TEST(BackingName, IsRemoved) {
  expect_change({}, {});
  expect_change({.version = 2}, {});
  expect_change({.cluster_bits = 9}, {});
  expect_change({.strange_bytes = 3000}, {});
  expect_change({.format = "", .strange_bytes = 0}, {});
}

TEST(BackingName, ThatIsTheOnlyEndOfTheExtensionsLeavesAMark) {
  expect_change({.version = 2, .format = "", .strange_bytes = 0, .has_end_mark = false}, {});
  expect_change({.has_end_mark = false}, {});
  expect_change({.strange_bytes = 376, .has_end_mark = false}, {"other", "raw"});
  // It would be in another sector than the name's place.
  EXPECT_FALSE(plan_backing(make_start({.strange_bytes = 440, .has_end_mark = false}), "", ""));
}

TEST(BackingName, IsReplaced) {
  for (const uint32_t bits : {12U, 14U}) {
    for (const size_t strange : {0UL, 38UL, 300UL, 360UL, 368UL, 376UL, 384UL, 392UL, 1000UL}) {
      for (const char* const name : {"b", "another.qcow2"}) {
        expect_change({.cluster_bits = bits, .strange_bytes = strange}, {name, "raw"});
        expect_change({.cluster_bits = bits, .strange_bytes = strange},
                      {std::string(1000, 'n'), "qcow2"});
        expect_change({.cluster_bits = bits, .format = "", .strange_bytes = strange},
                      {name, "qcow2"});
        expect_change({.cluster_bits = bits, .name = "", .format = "", .strange_bytes = strange},
                      {name, "raw"});
        expect_change({.version = 2, .cluster_bits = bits, .strange_bytes = strange},
                      {name, "raw"});
      }
    }
  }
}

TEST(BackingName, IsReplacedInTheSmallestCluster) {
  expect_change({.cluster_bits = 9}, {"another", "raw"});
  expect_change({.cluster_bits = 9, .format = ""}, {"another", "raw"});
}

TEST(BackingName, WithoutRoomIsRefused) {
  const auto writes = plan_backing(make_start({.cluster_bits = 9}), std::string(500, 'n'), "raw");
  ASSERT_FALSE(writes);
  EXPECT_EQ(writes.error().error, ENOSPC);
  EXPECT_THAT(writes.error().text, testing::HasSubstr("no room for a name of 500 bytes"));
}

// The format cannot change in the same sector as the name.
TEST(BackingName, ThatCannotChangeWithItsFormatIsRefused) {
  const Layout layout{.format_is_last = true, .strange_bytes = 1000};
  const auto writes = plan_backing(make_start(layout), "other", "raw");
  ASSERT_FALSE(writes);
  EXPECT_EQ(writes.error().error, ENOTSUP);
  expect_change(layout, {"other", "qcow2"});
  expect_change(layout, {});
}

}  // namespace
}  // namespace sluice::qcow2::test
