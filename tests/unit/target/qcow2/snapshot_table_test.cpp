// The snapshot table and the bitmap directory.
#include "target/qcow2/snapshot_table.hpp"

#include <gmock/gmock.h>

#include <string>

#include "unit/target/qcow2/image_bytes.hpp"

namespace sluice::qcow2::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kFileBytes = 16 * kCluster;

// The fields of an entry of the snapshot table.
struct SnapshotFields {
  uint64_t l1_offset = 3 * kCluster;
  uint32_t l1_entries = 1;
  std::string id = "1";
  std::string name = "one";
  uint32_t vm_state_bytes = 7;
  uint64_t extra_bytes = 24;
  std::string extra = big_endian_text(5'000'000'000, 8) + big_endian_text(kCluster, 8) +
                      big_endian_text(UINT64_MAX, 8);

  std::string text() const {
    return padded(big_endian_text(l1_offset, 8) + big_endian_text(l1_entries, 4) +
                  big_endian_text(id.size(), 2) + big_endian_text(name.size(), 2) +
                  big_endian_text(1'700'000'000, 4) + big_endian_text(999'999'999, 4) +
                  big_endian_text(123'456'789'000, 8) + big_endian_text(vm_state_bytes, 4) +
                  big_endian_text(extra_bytes, 4) + extra + id + name);
  }
  static std::string padded(std::string text) {
    text.resize((text.size() + 7) / 8 * 8);
    return text;
  }
};

// The fields of an entry of the bitmap directory.
struct BitmapFields {
  uint64_t table_offset = 5 * kCluster;
  uint32_t table_entries = 1;
  uint32_t flags = 0;
  unsigned type = 1;
  unsigned granularity_bits = 16;
  std::string name = "dirty";
  uint64_t extra_bytes = 0;
  std::string extra = "";

  std::string text() const {
    return SnapshotFields::padded(big_endian_text(table_offset, 8) +
                                  big_endian_text(table_entries, 4) + big_endian_text(flags, 4) +
                                  big_endian_text(type, 1) + big_endian_text(granularity_bits, 1) +
                                  big_endian_text(name.size(), 2) +
                                  big_endian_text(extra_bytes, 4) + extra + name);
  }
};

Header header_with(uint32_t snapshots, uint32_t bitmaps = 0) {
  Header header = {.size_bytes = kCluster * 8192, .l1_entries = 1, .snapshots = snapshots};
  if (bitmaps > 0) header.bitmaps = BitmapsExtension{.count = bitmaps};
  return header;
}

Result<SnapshotTable> snapshots_in(const std::string& text, uint32_t count = 1) {
  const std::vector<char> exact(text.begin(), text.end());
  return parse_snapshots(std::as_bytes(std::span(exact)), header_with(count), kFileBytes);
}

Result<std::vector<BitmapEntry>> bitmaps_in(const std::string& text, uint32_t count = 1) {
  const std::vector<char> exact(text.begin(), text.end());
  return parse_bitmaps(std::as_bytes(std::span(exact)), header_with(0, count), kFileBytes);
}

// Empty: it is not refused.
template <typename Parsed>
std::string why_refused(const Result<Parsed>& parsed) {
  if (parsed) return {};
  EXPECT_EQ(parsed.error().error, EINVAL);
  return parsed.error().text;
}

std::string refused(const SnapshotFields& fields) {
  return why_refused(snapshots_in(fields.text()));
}
std::string refused(const BitmapFields& fields) { return why_refused(bitmaps_in(fields.text())); }

TEST(Qcow2Snapshots, AllFields) {
  const std::string text = SnapshotFields{}.text();
  const auto table = snapshots_in(text + "another table");
  ASSERT_TRUE(table.has_value()) << table.error().text;
  EXPECT_EQ(table->table_bytes, text.size());
  ASSERT_THAT(table->snapshots, SizeIs(1));
  const Snapshot& snapshot = table->snapshots[0];
  EXPECT_EQ(snapshot.l1_offset, 3 * kCluster);
  EXPECT_EQ(snapshot.l1_entries, 1U);
  EXPECT_EQ(snapshot.id, "1");
  EXPECT_EQ(snapshot.name, "one");
  EXPECT_EQ(snapshot.date_seconds, 1'700'000'000U);
  EXPECT_EQ(snapshot.date_nanoseconds, 999'999'999U);
  EXPECT_EQ(snapshot.vm_clock_nanoseconds, 123'456'789'000U);
  EXPECT_EQ(snapshot.vm_state_bytes, 5'000'000'000U);
  EXPECT_EQ(snapshot.disk_bytes, kCluster);
  EXPECT_THAT(snapshot.extra_data, SizeIs(24));
}

TEST(Qcow2Snapshots, WithoutExtraData) {
  const auto table = snapshots_in(SnapshotFields{.extra_bytes = 0, .extra = ""}.text());
  ASSERT_TRUE(table.has_value()) << table.error().text;
  EXPECT_EQ(table->snapshots[0].vm_state_bytes, 7U);
  EXPECT_EQ(table->snapshots[0].disk_bytes, kCluster * 8192);
  const auto half =
      snapshots_in(SnapshotFields{.extra_bytes = 8, .extra = big_endian_text(9, 8)}.text());
  ASSERT_TRUE(half.has_value()) << half.error().text;
  EXPECT_EQ(half->snapshots[0].vm_state_bytes, 9U);
  EXPECT_EQ(half->snapshots[0].disk_bytes, kCluster * 8192);
}

// T4.24
TEST(Qcow2Snapshots, UnknownExtraDataIsKept) {
  const std::string known = SnapshotFields{}.extra;
  SnapshotFields fields = {.extra_bytes = 1024, .extra = known + std::string(1000, 'x')};
  const auto table = snapshots_in(fields.text());
  ASSERT_TRUE(table.has_value()) << table.error().text;
  const std::vector<std::byte>& extra = table->snapshots[0].extra_data;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(extra.data()), extra.size()), fields.extra);
  EXPECT_EQ(table->snapshots[0].name, "one");
  fields.extra_bytes = 1025;
  EXPECT_EQ(refused(fields), "snapshot 1 has 1025 bytes of extra data, and may have at most 1024");
  fields.extra_bytes = UINT32_MAX;
  EXPECT_THAT(refused(fields), HasSubstr("at most 1024"));
}

// T4.24
TEST(Qcow2Snapshots, ATableThatEndsTooEarly) {
  const std::string text = SnapshotFields{.name = "twelve chars"}.text();
  ASSERT_EQ(text.size(), 80U);
  EXPECT_EQ(why_refused(snapshots_in(text, 2)),
            "snapshot 2 ends at byte 120 or later, and the table at 80");
  EXPECT_THAT(why_refused(snapshots_in(text + text, 2)), IsEmpty());
  for (size_t bytes = 0; bytes < 77; ++bytes) {
    EXPECT_THAT(why_refused(snapshots_in(text.substr(0, bytes))), HasSubstr("the table at"))
        << bytes;
  }
  // Only its padding is missing.
  const auto table = snapshots_in(text.substr(0, 77));
  ASSERT_TRUE(table.has_value());
  EXPECT_EQ(table->table_bytes, 77U);
}

// T4.24
TEST(Qcow2Snapshots, TooMany) {
  EXPECT_EQ(why_refused(snapshots_in(SnapshotFields{}.text(), 65537)),
            "nb_snapshots is 65537, and may be at most 65536");
  EXPECT_THAT(why_refused(snapshots_in(SnapshotFields{}.text(), 131072)), HasSubstr("131072"));
  std::string table;
  const std::string entry = SnapshotFields{.extra_bytes = 0, .extra = ""}.text();
  for (int i = 0; i < 65536; ++i) table += entry;
  const auto parsed = snapshots_in(table, 65536);
  ASSERT_TRUE(parsed.has_value()) << parsed.error().text;
  EXPECT_THAT(parsed->snapshots, SizeIs(65536));
}

// T4.24
TEST(Qcow2Snapshots, ATableOfMoreThan64MiB) {
  const std::string name(65535, 'n');
  const std::string entry =
      SnapshotFields{.name = name, .extra_bytes = 1024, .extra = std::string(1024, '\0')}.text();
  std::string table;
  uint32_t count = 0;
  for (; table.size() + entry.size() <= kSnapshotTableBytesMax; ++count) table += entry;
  const auto parsed = [&] {
    return parse_snapshots(std::as_bytes(std::span(table)), header_with(count), kFileBytes);
  };
  EXPECT_THAT(why_refused(parsed()), IsEmpty());
  table += entry;
  ++count;
  EXPECT_THAT(why_refused(parsed()), HasSubstr("the table at 67108864"));
}

// T4.17, T4.19
TEST(Qcow2Snapshots, PlaceOfTheL1Table) {
  EXPECT_EQ(refused(SnapshotFields{.l1_offset = kCluster + 512}),
            "snapshot 1 has its L1 table at 66048, which is not aligned to a cluster of 65536 "
            "bytes");
  EXPECT_EQ(refused(SnapshotFields{.l1_offset = kFileBytes}),
            "snapshot 1 has its L1 table at 1048576, 8 bytes, and the file ends at 1048576");
  EXPECT_THAT(refused(SnapshotFields{.l1_offset = UINT64_MAX << 16}), HasSubstr("ends at"));
  EXPECT_THAT(refused(SnapshotFields{.l1_offset = 0}), HasSubstr("the cluster of the header"));
  EXPECT_THAT(refused(SnapshotFields{.l1_entries = UINT32_MAX}),
              HasSubstr("4294967295 L1 entries, and may have at most 4194304"));
  EXPECT_THAT(refused(SnapshotFields{.l1_entries = 4 << 20}), HasSubstr("33554432 bytes"));
}

TEST(Qcow2Snapshots, TheL1TableIsLargeEnoughForItsDisk) {
  SnapshotFields fields;
  const auto set_size = [&](uint64_t bytes) {
    fields.extra = big_endian_text(0, 8) + big_endian_text(bytes, 8) + big_endian_text(0, 8);
  };
  set_size(kCluster * 8192);
  EXPECT_THAT(refused(fields), IsEmpty());
  set_size(kCluster * 8192 + 512);
  EXPECT_EQ(
      refused(fields),
      "snapshot 1 has an L1 table of 1 entries, and its disk of 536871424 bytes needs at least "
      "2");
  set_size(UINT64_MAX);
  EXPECT_THAT(refused(fields), HasSubstr("needs at least"));
  fields.l1_entries = 0;
  fields.l1_offset = 0;
  set_size(511);
  EXPECT_THAT(refused(fields), IsEmpty());
}

TEST(Qcow2Bitmaps, AllFields) {
  EXPECT_THAT(parse_bitmaps({}, header_with(0), kFileBytes).value(), IsEmpty());
  const auto bitmaps =
      bitmaps_in(BitmapFields{}.text() +
                     BitmapFields{.flags = 3, .granularity_bits = 31, .name = "other"}.text(),
                 2);
  ASSERT_TRUE(bitmaps.has_value()) << bitmaps.error().text;
  ASSERT_THAT(*bitmaps, SizeIs(2));
  const BitmapEntry& bitmap = (*bitmaps)[0];
  EXPECT_EQ(bitmap.table_offset, 5 * kCluster);
  EXPECT_EQ(bitmap.table_entries, 1U);
  EXPECT_EQ(bitmap.granularity_bits, 16U);
  EXPECT_EQ(bitmap.name, "dirty");
  EXPECT_FALSE(bitmap.in_use || bitmap.automatic);
  EXPECT_TRUE(bitmap.usable);
  EXPECT_TRUE((*bitmaps)[1].in_use && (*bitmaps)[1].automatic);
  EXPECT_EQ((*bitmaps)[1].granularity_bits, 31U);
}

TEST(Qcow2Bitmaps, UnknownDataIsSkipped) {
  BitmapFields fields = {.flags = 4, .extra_bytes = 3, .extra = "abc"};
  auto bitmaps = bitmaps_in(fields.text());
  ASSERT_TRUE(bitmaps.has_value()) << bitmaps.error().text;
  EXPECT_TRUE((*bitmaps)[0].usable);
  EXPECT_EQ((*bitmaps)[0].name, "dirty");
  fields.flags = 0;
  bitmaps = bitmaps_in(fields.text());
  ASSERT_TRUE(bitmaps.has_value()) << bitmaps.error().text;
  EXPECT_FALSE((*bitmaps)[0].usable);
}

TEST(Qcow2Bitmaps, LimitsOfEachField) {
  EXPECT_EQ(refused(BitmapFields{.flags = 8}),
            "bitmap 1 has flags 0x8, of which only 0x7 are defined");
  EXPECT_EQ(refused(BitmapFields{.type = 0}), "bitmap 1 is of type 0, which must be 1");
  EXPECT_THAT(refused(BitmapFields{.type = 2}), HasSubstr("type 2"));
  EXPECT_EQ(refused(BitmapFields{.granularity_bits = 8}),
            "bitmap 1 has granularity_bits 8, which must be 9 to 31");
  EXPECT_THAT(refused(BitmapFields{.granularity_bits = 32}), HasSubstr("must be 9 to 31"));
  EXPECT_THAT(refused(BitmapFields{.granularity_bits = 255}), HasSubstr("must be 9 to 31"));
  EXPECT_EQ(refused(BitmapFields{.name = ""}),
            "bitmap 1 has a name of 0 bytes, which must be 1 to 1023");
  EXPECT_THAT(refused(BitmapFields{.name = std::string(1023, 'n')}), IsEmpty());
  EXPECT_THAT(refused(BitmapFields{.name = std::string(1024, 'n')}), HasSubstr("1024 bytes"));
  EXPECT_THAT(refused(BitmapFields{.extra_bytes = UINT32_MAX}), HasSubstr("the table at"));
}

// T4.17, T4.18
TEST(Qcow2Bitmaps, PlaceAndSizeOfTheTable) {
  EXPECT_THAT(refused(BitmapFields{.table_offset = 8}), HasSubstr("not aligned"));
  EXPECT_THAT(refused(BitmapFields{.table_offset = 0}), HasSubstr("the cluster of the header"));
  EXPECT_EQ(refused(BitmapFields{.table_offset = kFileBytes}),
            "bitmap 1 has its bitmap table at 1048576, 8 bytes, and the file ends at 1048576");
  EXPECT_THAT(refused(BitmapFields{.table_entries = 0}), HasSubstr("must be 1 to 8192"));
  EXPECT_THAT(refused(BitmapFields{.table_entries = 8193}), HasSubstr("at most 536870912 bytes"));
  // One cluster of bits for granules of 512 bytes is half of what the disk needs.
  EXPECT_EQ(refused(BitmapFields{.granularity_bits = 9}),
            "bitmap 1 has 524288 bits, and 1048576 are needed for the disk");
  EXPECT_THAT(refused(BitmapFields{.table_entries = 2, .granularity_bits = 9}), IsEmpty());
  EXPECT_THAT(refused(BitmapFields{.flags = 1, .granularity_bits = 9}), IsEmpty());
}

TEST(Qcow2Bitmaps, TheDirectoryIsReadToItsEnd) {
  const std::string text = BitmapFields{}.text();
  EXPECT_THAT(why_refused(bitmaps_in(text, 2)),
              HasSubstr("bitmap 2 ends at byte 56 or later, and the table at 32"));
  EXPECT_EQ(why_refused(bitmaps_in(text + text)),
            "the bitmap directory has 64 bytes, and its 1 entries have 32");
  EXPECT_EQ(why_refused(bitmaps_in(text + text, 2)), "bitmap 2 has the name of another one");
}

TEST(Qcow2Lists, ImagesOfQemu) {
  if (!has_qemu_img()) GTEST_SKIP() << kNeedsQemuImg;
  const std::vector<std::byte> image = made_by_qemu(
      "1M",
      "qemu-img snapshot -c first $img && qemu-img snapshot -c 'the second' $img && "
      "qemu-img bitmap --add -g 32k $img some && qemu-img bitmap --add --disable $img more");
  const auto bytes = std::span(image);
  const Header header = parse_header(image, image.size()).value_or(Header{});
  const auto table = parse_snapshots(bytes.subspan(static_cast<size_t>(header.snapshots_offset)),
                                     header, image.size());
  ASSERT_TRUE(table.has_value()) << table.error().text;
  ASSERT_THAT(table->snapshots, SizeIs(2));
  EXPECT_EQ(table->snapshots[0].name, "first");
  EXPECT_EQ(table->snapshots[0].id, "1");
  EXPECT_EQ(table->snapshots[1].name, "the second");
  EXPECT_EQ(table->snapshots[1].id, "2");
  EXPECT_EQ(table->snapshots[1].disk_bytes, 1U << 20);
  EXPECT_GT(table->snapshots[1].date_seconds, 1'600'000'000U);

  ASSERT_TRUE(header.bitmaps.has_value());
  const auto directory = bytes.subspan(static_cast<size_t>(header.bitmaps->directory_offset),
                                       static_cast<size_t>(header.bitmaps->directory_bytes));
  const auto bitmaps = parse_bitmaps(directory, header, image.size());
  ASSERT_TRUE(bitmaps.has_value()) << bitmaps.error().text;
  ASSERT_THAT(*bitmaps, SizeIs(2));
  EXPECT_EQ((*bitmaps)[0].name, "some");
  EXPECT_EQ((*bitmaps)[0].granularity_bits, 15U);
  EXPECT_TRUE((*bitmaps)[0].automatic);
  EXPECT_FALSE((*bitmaps)[0].in_use);
  EXPECT_EQ((*bitmaps)[1].name, "more");
  EXPECT_FALSE((*bitmaps)[1].automatic);
}

}  // namespace
}  // namespace sluice::qcow2::test
