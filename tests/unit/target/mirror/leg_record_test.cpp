// The superblock of a leg: what is written is read again, and nothing that is read is trusted
// (T3.21).
#include "target/mirror/leg_record.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <set>

#include "core/little_endian.hpp"
#include "spec/shown.hpp"
#include "unit/target/mirror/records.hpp"

namespace sluice::mirror::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::string refusal(const LegRecord& record, uint64_t leg_bytes = 64 * kMiB) {
  const Result<LegRecord> parsed = parse(encoded(record), leg_bytes);
  return parsed ? "" : parsed.error().text;
}

TEST(LegRecord, WhatIsWrittenIsReadAgain) {
  const LegRecord record = whole_record();
  EXPECT_THAT(fault_of(record, 64 * kMiB), IsEmpty());
  const Result<LegRecord> parsed = parse(encoded(record), 64 * kMiB);
  ASSERT_TRUE(parsed) << parsed.error().text;
  EXPECT_EQ(*parsed, record);
  EXPECT_EQ(parsed->state(), LegState::in_sync);
  EXPECT_EQ(parsed->history.current().id, 0x0102030405060708);
  EXPECT_EQ(parsed->history.position(0x1122334455667788), 1);
}

TEST(LegRecord, TheFullestFits) {
  LegRecord record = whole_record();
  record.name = std::string(kNameBytesMost, 'n');
  record.owner.host = std::string(kNameBytesMost, 'h');
  record.legs.resize(1);
  for (unsigned i = 1; i < kLegsMost; ++i) {
    record.legs.push_back({.leg = uuid_of(100 + i),
                           .state = static_cast<LegState>(i % 4),
                           .label = std::string(kLabelBytesMost, 'l')});
  }
  for (uint64_t i = 0; i < History::kMost; ++i) record.begin_generation({.id = 1000 + i});
  record.clean = false;
  const Result<LegRecord> parsed = parse(encoded(record), 64 * kMiB);
  ASSERT_TRUE(parsed) << parsed.error().text;
  EXPECT_EQ(*parsed, record);
}

// T3.5: the bitmap never claims differences to a generation that is forgotten.
TEST(LegRecord, AGenerationThatDropsOutIsNoLongerCoveredByTheBitmap) {
  LegRecord record = whole_record();
  for (uint64_t i = 0; i < History::kMost - 2; ++i) record.begin_generation({.id = 1000 + i});
  EXPECT_EQ(record.bitmap_since, 0x1122334455667788);
  record.begin_generation({.id = 5000});
  EXPECT_EQ(record.bitmap_since, 0x0102030405060708);
  EXPECT_EQ(record.history.generations().size(), History::kMost);
  EXPECT_THAT(refusal(record), IsEmpty());
}

// T3.21, sentence by sentence.
TEST(LegRecord, WhatIsOutOfRangeIsRefused) {
  struct Case {
    std::function<void(LegRecord&)> change;
    std::string reason;
  };
  const Case cases[] = {
      {[](auto& r) { r.array = {}; }, "has no UUID"},
      {[](auto& r) { r.leg = uuid_of(77); }, "has no row for the leg itself"},
      {[](auto& r) { r.legs[1].leg = r.leg; }, "twice in its table"},
      {[](auto& r) { r.legs.clear(); }, "has a table of 0 legs"},
      {[](auto& r) { r.legs[0].state = LegState::stale; }, "has no leg that is in sync"},
      {[](auto& r) { r.legs[1].state = static_cast<LegState>(9); }, "unknown state 9"},
      {[](auto& r) { r.legs[1].label = "a\nb"; }, "has a label that is no text"},
      {[](auto& r) { r.name = "a\xff"; }, "has a name that is no text"},
      {[](auto& r) { r.block_bytes = 1024 + 512; }, "has blocks of 1536 bytes"},
      {[](auto& r) { r.block_bytes = 8192; }, "has blocks of 8192 bytes"},
      {[](auto& r) { r.region_bytes = 32 << 10; }, "has regions of 32768 bytes"},
      {[](auto& r) { r.region_bytes = 3 << 20; }, "has regions of 3145728 bytes"},
      {[](auto& r) { r.data_bytes = 0; }, "has 0 bytes of data"},
      {[](auto& r) { r.data_bytes = 1000; }, "has 1000 bytes of data in blocks of 512"},
      {[](auto& r) { r.data_bytes = uint64_t{1} << 63; }, "9223372036854775808 bytes of data"},
      {[](auto& r) { r.data_bytes += 512; }, "the leg has room for 66060288 only"},
      {[](auto& r) { r.data_bytes = uint64_t{1} << 60; }, "for a bitmap of"},
      {[](auto& r) { r.places.placement = static_cast<Placement>(2); }, "the unknown place 2"},
      {[](auto& r) { r.places.data_offset = 0; }, "has its data at byte 0"},
      {[](auto& r) { r.places.data_offset = kMiB + 512; }, "has its data at byte 1049088"},
      {[](auto& r) { r.places.data_offset = uint64_t{1} << 63; }, "the leg has room for 0 only"},
      {[](auto& r) { r.places.intent_offset = 4096; },
       "has its bitmap of 983040 bytes at byte 4096"},
      {[](auto& r) { r.places.intent_bytes = kMiB; }, "has its bitmap of 1048576 bytes"},
      {[](auto& r) { r.places.intent_bytes = 4097; }, "has 4097 bytes for its bitmap"},
      {[](auto& r) { r.places.intent_bytes = 0; }, "has 0 bytes for its bitmap"},
      {[](auto& r) { r.bitmap_since = 5; }, "has a bitmap since generation 0000000000000005"},
      {[](auto& r) { r.begin_generation({.id = 0}); }, "an impossible generation"},
      {[](auto& r) { r.begin_generation(r.history.current()); }, "an impossible generation"},
      {[](auto& r) { r.begin_generation({.id = 7, .seconds = UINT64_MAX}); }, "an impossible"},
  };
  for (const Case& one : cases) {
    LegRecord record = whole_record();
    one.change(record);
    EXPECT_THAT(refusal(record), StartsWith("the mirror superblock has ")) << one.reason;
    EXPECT_THAT(refusal(record), HasSubstr(one.reason));
  }
}

TEST(LegRecord, ALegThatShrankIsRefused) {
  EXPECT_THAT(refusal(whole_record(), 64 * kMiB - 512), HasSubstr("it was larger when"));
  EXPECT_THAT(refusal(whole_record(), 65 * kMiB), IsEmpty());
}

// T3.21: every byte matters. None can be changed so that something is read that was not written.
TEST(LegRecord, EveryBitThatChangesIsSeen) {
  const std::vector<std::byte> payload = encoded(whole_record());
  for (size_t place = 0; place < payload.size(); ++place) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      std::vector<std::byte> changed = payload;
      changed[place] ^= std::byte{1} << bit;
      const Result<LegRecord> parsed = parse(changed, 64 * kMiB);
      if (!parsed) {
        ASSERT_TRUE(is_utf8(parsed.error().text));
        continue;
      }
      ASSERT_NE(*parsed, whole_record()) << place;
      ASSERT_EQ(encoded(*parsed), changed) << place;
    }
  }
}

TEST(LegRecord, AnotherLengthIsRefused) {
  std::vector<std::byte> payload = encoded(whole_record());
  payload.pop_back();
  EXPECT_FALSE(parse(payload, 64 * kMiB));
  payload.resize(kRecordBytes + 1);
  EXPECT_FALSE(parse(payload, 64 * kMiB));
}

TEST(LegRecord, ALongLabelKeepsItsEnd) {
  EXPECT_EQ(label_of("a.img"), "a.img");
  EXPECT_EQ(label_of("a\x1b[31m\xff"), "a\\x1b[31m\\xff");
  EXPECT_EQ(label_of("/very/long/ü.img", 9), "...ü.img");
  EXPECT_EQ(label_of("/very/long/ü.img", 8), "....img");
  EXPECT_EQ(label_of(label_of(std::string(200, 'x'))), "..." + std::string(92, 'x'));
}

TEST(Uuid, IsRandomAndOfVersion4) {
  std::set<std::string> texts;
  for (int i = 0; i < 100; ++i) texts.insert(Uuid::random().text());
  EXPECT_EQ(texts.size(), 100);
  EXPECT_THAT(*texts.begin(), testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-"
                                                    "[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
}

TEST(Generation, ShowsItsBeginning) {
  EXPECT_EQ((Generation{.id = 0x1f, .seconds = 1'790'000'000}).text(),
            "000000000000001f (2026-09-21 14:13:20 UTC)");
  EXPECT_NE(Generation::begin_now().id, Generation::begin_now().id);
}

}  // namespace
}  // namespace sluice::mirror::test
