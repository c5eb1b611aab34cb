#include "cli/thin/lvm_pool.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "target/registry.hpp"

namespace sluice::cli::test {
namespace {

using testing::HasSubstr;

// JSON with ' in the place of ".
JsonValue report_of(std::string text) {
  std::ranges::replace(text, '\'', '"');
  const auto report = read_json(text, kMessageNestingMax);
  EXPECT_TRUE(report) << text;
  return report.value_or(JsonValue());
}

// A row of `lvs`, with those fields that every volume has.
std::string lvs_row(const std::string& name, const std::string& type, const std::string& fields) {
  return fmt::format(
      "{{'lv_name':'{}','segtype':'{}','seg_start':'0','vg_extent_size':'4194304','lv_active':'',"
      "'stripe_size':'0',{}}}",
      name, type, fields);
}

std::string data_row(const std::string& devices, const std::string& type = "linear") {
  return lvs_row("[tp_tdata]", type, "'seg_size':'8388608','devices':'" + devices + "'");
}

const std::string kPoolRow =
    lvs_row("tp", "thin-pool",
            "'data_lv':'[tp_tdata]','metadata_lv':'[tp_tmeta]','chunk_size':'65536',"
            "'transaction_id':'7'");
const std::string kMetadataRow =
    lvs_row("[tp_tmeta]", "linear", "'seg_size':'4194304','devices':'/dev/sdb(2)'");
const std::string kVolumeRow =
    lvs_row("volume", "thin", "'pool_lv':'tp','thin_id':'3','lv_size':'1073741824','devices':''");

Outcome<LvmPool> pool_of(const std::vector<std::string>& rows) {
  return find_lvm_pool(
      report_of(fmt::format("{{'report':[{{'seg':[{}]}}]}}", fmt::join(rows, ","))),
      report_of("{'report':[{'pv':[{'pv_name':'/dev/sda','pe_start':'1048576'},"
                "{'pv_name':'/dev/sdb','pe_start':'2097152'}]}]}"),
      "tp");
}

std::string refusal(const std::vector<std::string>& rows) {
  const auto pool = pool_of(rows);
  return pool ? "" : pool.error().text;
}

TEST(LvmPool, SegmentsAreSlices) {
  // In any order; the second begins where the first ends.
  const std::string second =
      "{'lv_name':'[tp_tdata]','segtype':'striped','seg_start':'8388608','seg_size':'16777216',"
      "'devices':'/dev/sda(9),/dev/sdb(4)','stripe_size':'65536','vg_extent_size':'4194304'}";
  const auto pool = pool_of({second, kVolumeRow, kPoolRow, kMetadataRow, data_row("/dev/sda(0)")});
  ASSERT_TRUE(pool) << pool.error().text;
  EXPECT_EQ(to_text(pool->metadata, target_vocabulary()), "loop(/dev/sdb, offset=10M, size=4M)");
  EXPECT_EQ(
      to_text(pool->data, target_vocabulary()),
      "linear(loop(/dev/sda, offset=1M, size=8M), stripe(loop(/dev/sda, offset=37M, size=8M), "
      "loop(/dev/sdb, offset=18M, size=8M), chunk=64k))");
  EXPECT_EQ(pool->transaction_id, 7);
  EXPECT_EQ(pool->block_bytes, 64 << 10);
  ASSERT_EQ(pool->volumes.size(), 1);
  EXPECT_EQ(pool->volumes.front().id, 3);
  EXPECT_EQ(pool->volumes.front().size_bytes, 1 << 30);
}

TEST(LvmPool, WhatIsNotMadeOfSlicesIsRefused) {
  EXPECT_THAT(refusal({}), HasSubstr("no volume 'tp'"));
  EXPECT_THAT(refusal({lvs_row("tp", "linear", "'devices':''")}), HasSubstr("no thin pool"));
  EXPECT_THAT(refusal({kPoolRow, kMetadataRow}), HasSubstr("no segments of 'tp_tdata'"));
  EXPECT_THAT(refusal({kPoolRow, kMetadataRow, data_row("a_rimage_0(0)", "raid1")}),
              HasSubstr("type 'raid1'"));
  EXPECT_THAT(refusal({kPoolRow, kMetadataRow, data_row("/dev/sdc(0)")}),
              HasSubstr("lies on '/dev/sdc'"));
  std::string active = kPoolRow;
  active.replace(active.find("'lv_active':''"), 14, "'lv_active':'active'");
  EXPECT_THAT(refusal({active, kMetadataRow, data_row("/dev/sda(0)")}), HasSubstr("deactivate it"));
}

TEST(LvmPool, AReportOfAnotherFormIsRefused) {
  for (const char* const devices : {"/dev/sda", "/dev/sda(", "/dev/sda(x)", "(1)x", "", ")(",
                                    "/dev/sda(9223372036854775807)", "/dev/sda(0),/dev/sdb"}) {
    EXPECT_THAT(refusal({kPoolRow, kMetadataRow, data_row(devices)}), HasSubstr("another form"))
        << devices;
  }
  EXPECT_THAT(refusal({"{}"}), HasSubstr("another form"));
  EXPECT_THAT(refusal({"7"}), HasSubstr("another form"));
  EXPECT_FALSE(find_lvm_pool(JsonValue(), JsonValue(), "tp"));
}

}  // namespace
}  // namespace sluice::cli::test
