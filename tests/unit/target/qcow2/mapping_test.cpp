#include "target/qcow2/mapping.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "core/big_endian.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kClusterOfRules = 65536;
constexpr uint64_t kSubclusterOfRules = kClusterOfRules / kSubclusters;

MappingRules standard_rules() {
  MappingRules rules;
  rules.host_end = 100 * kClusterOfRules;
  return rules;
}

MappingRules extended_rules() {
  MappingRules rules = standard_rules();
  rules.entry_bytes = 16;
  return rules;
}

L2Entry at_cluster(uint64_t number, uint64_t bitmap = 0) {
  return {.entry = number * kClusterOfRules | kCopied, .bitmap = bitmap};
}

std::vector<std::byte> table_of(const std::vector<L2Entry>& entries, const MappingRules& rules) {
  std::vector<std::byte> table(entries.size() * rules.entry_bytes);
  for (size_t i = 0; i < entries.size(); ++i) {
    store_entry(table, i * rules.entry_bytes, entries[i], rules);
  }
  return table;
}

Run run_at(const std::vector<L2Entry>& entries, uint64_t offset, uint64_t length,
           const MappingRules& rules) {
  qcow2::Run run;
  EXPECT_TRUE(first_run(table_of(entries, rules), offset, length, rules, run).ok());
  return run;
}

int check_of(const L2Entry& entry, const MappingRules& rules, uint64_t disk_offset = 0) {
  return check_entry(entry, disk_offset, rules).error();
}

TEST(Qcow2Mapping, EntriesAreBigEndian) {
  const L2Entry entry{.entry = 0x8000000000050000, .bitmap = 0x0000000100000002};
  std::vector<std::byte> table(32);
  store_entry(table, 16, entry, extended_rules());
  EXPECT_EQ(load_big_endian<uint64_t>(table, 16), entry.entry);
  EXPECT_EQ(load_big_endian<uint64_t>(table, 24), entry.bitmap);
  EXPECT_EQ(load_entry(table, 16, extended_rules()), entry);
  store_entry(table, 8, entry, standard_rules());
  EXPECT_EQ(load_entry(table, 8, standard_rules()).bitmap, 0U);
}

TEST(Qcow2Mapping, SoundEntriesAreAccepted) {
  EXPECT_EQ(check_of({}, standard_rules()), 0);
  EXPECT_EQ(check_of({.entry = kZeroFlag}, standard_rules()), 0);
  EXPECT_EQ(check_of(at_cluster(5), standard_rules()), 0);
  EXPECT_EQ(check_of({.entry = 5 * kClusterOfRules}, standard_rules()), 0);
  EXPECT_EQ(check_of({.entry = 5 * kClusterOfRules | kCopied | kZeroFlag}, standard_rules()), 0);
  EXPECT_EQ(check_of(at_cluster(5, 0xffff0000'0000ffff), extended_rules()), 0);
  EXPECT_EQ(check_of({.entry = 0, .bitmap = 0xffffffff'00000000}, extended_rules()), 0);
}

TEST(Qcow2Mapping, DamagedEntriesAreRefused) {
  EXPECT_EQ(check_of({.entry = 5 * kClusterOfRules + 512}, standard_rules()), EUCLEAN);
  EXPECT_EQ(check_of({.entry = 100 * kClusterOfRules}, standard_rules()), EUCLEAN);
  EXPECT_EQ(check_of({.entry = 5 * kClusterOfRules | 2}, standard_rules()), EUCLEAN);
  EXPECT_EQ(check_of({.entry = uint64_t{1} << 56}, standard_rules()), EUCLEAN);
  EXPECT_EQ(check_of({.entry = kCopied}, standard_rules()), EUCLEAN) << "on the header";
  EXPECT_EQ(check_of({.entry = 5 * kClusterOfRules | kZeroFlag}, extended_rules()), EUCLEAN);
  EXPECT_EQ(check_of(at_cluster(5, 0x00000001'00000001), extended_rules()), EUCLEAN);
  EXPECT_EQ(check_of({.entry = 0, .bitmap = 1}, extended_rules()), EUCLEAN);
}

TEST(Qcow2Mapping, Version2HasNoZeroFlag) {
  MappingRules rules = standard_rules();
  rules.version = 2;
  EXPECT_EQ(check_of({.entry = kZeroFlag}, rules), EUCLEAN);
}

TEST(Qcow2Mapping, CompressedClustersAreNeitherCopiedNorExternalNorOnTheHeader) {
  const L2Entry sound{.entry = kCompressed | (3 * kClusterOfRules + 100)};
  EXPECT_EQ(check_of(sound, standard_rules()), 0);
  EXPECT_EQ(check_of({.entry = sound.entry | kCopied}, standard_rules()), EUCLEAN);
  EXPECT_EQ(check_of({.entry = kCompressed | 100}, standard_rules()), EUCLEAN);
  EXPECT_EQ(check_of({.entry = kCompressed | 100 * kClusterOfRules}, standard_rules()), EUCLEAN);
  EXPECT_EQ(check_of({.entry = sound.entry, .bitmap = 1}, extended_rules()), EUCLEAN);
  MappingRules external = standard_rules();
  external.external = true;
  EXPECT_EQ(check_of(sound, external), EUCLEAN);
}

TEST(Qcow2Mapping, ExternalDataIsAtItsOwnOffset) {
  MappingRules rules = standard_rules();
  rules.external = true;
  EXPECT_EQ(check_of(at_cluster(7), rules, 7 * kClusterOfRules), 0);
  EXPECT_EQ(check_of(at_cluster(7), rules, 8 * kClusterOfRules), EUCLEAN);
  EXPECT_EQ(check_of(at_cluster(200), rules, 200 * kClusterOfRules), 0) << "not in the image";
  EXPECT_EQ(kind_of({.entry = kCopied}, 0, rules), Kind::data) << "at offset 0";
  EXPECT_EQ(kind_of({}, 0, rules), Kind::unallocated);
}

TEST(Qcow2Mapping, KindsOfStandardEntries) {
  const MappingRules rules = standard_rules();
  EXPECT_EQ(kind_of({}, 0, rules), Kind::unallocated);
  EXPECT_EQ(kind_of(at_cluster(5), 0, rules), Kind::data);
  EXPECT_EQ(kind_of({.entry = kZeroFlag}, 0, rules), Kind::zero);
  EXPECT_EQ(kind_of({.entry = 5 * kClusterOfRules | kZeroFlag}, 0, rules), Kind::zero);
  EXPECT_EQ(kind_of({.entry = kCompressed | kClusterOfRules}, 0, rules), Kind::compressed);
}

TEST(Qcow2Mapping, KindsOfSubclusters) {
  const L2Entry entry = at_cluster(5, uint64_t{1} << (32 + 31) | 1);
  EXPECT_EQ(kind_of(entry, 0, extended_rules()), Kind::data);
  EXPECT_EQ(kind_of(entry, 1, extended_rules()), Kind::unallocated);
  EXPECT_EQ(kind_of(entry, 31, extended_rules()), Kind::zero);
}

TEST(Qcow2Mapping, ARunJoinsConsecutiveHostClusters) {
  const std::vector<L2Entry> entries = {at_cluster(5), at_cluster(6), at_cluster(8)};
  const qcow2::Run run =
      run_at(entries, 1000 * kClusterOfRules + 512, UINT32_MAX, standard_rules());
  EXPECT_EQ(run.kind, Kind::data);
  EXPECT_EQ(run.host, 5 * kClusterOfRules + 512);
  EXPECT_EQ(run.length, 2 * kClusterOfRules - 512);
  EXPECT_TRUE(run.in_place);
}

TEST(Qcow2Mapping, ARunEndsWhereItMayNotBeOverwritten) {
  const std::vector<L2Entry> entries = {at_cluster(5), {.entry = 6 * kClusterOfRules}};
  EXPECT_EQ(run_at(entries, 0, UINT32_MAX, standard_rules()).length, kClusterOfRules);
  MappingRules snapshot = standard_rules();
  snapshot.is_snapshot = true;
  EXPECT_FALSE(run_at(entries, 0, UINT32_MAX, snapshot).in_place);
}

TEST(Qcow2Mapping, ARunOfZeroesOrOfNothingNeedsNoConsecutiveClusters) {
  const std::vector<L2Entry> zeroes = {
      {.entry = kZeroFlag}, {.entry = 9 * kClusterOfRules | kZeroFlag}, {}, {}};
  EXPECT_EQ(run_at(zeroes, 0, UINT32_MAX, standard_rules()).length, 2 * kClusterOfRules);
  const std::vector<L2Entry> nothing(3);
  EXPECT_EQ(run_at(nothing, 0, UINT32_MAX, standard_rules()).length, 3 * kClusterOfRules);
  EXPECT_EQ(run_at(nothing, 0, 700 * 512, standard_rules()).length, 3 * kClusterOfRules);
  EXPECT_EQ(run_at(nothing, 0, 100 * 512, standard_rules()).length, 100U * 512);
}

TEST(Qcow2Mapping, ARunByPlaceEndsWithTheHostClusterThatItDoesNotUse) {
  MappingRules rules = standard_rules();
  rules.by_place = true;
  const L2Entry kept{.entry = 9 * kClusterOfRules | kZeroFlag};
  const std::vector<L2Entry> zeroes = {kept, {.entry = kZeroFlag}, {.entry = kZeroFlag}, kept};
  const qcow2::Run run = run_at(zeroes, 512, UINT32_MAX, rules);
  EXPECT_EQ(run.kind, Kind::zero);
  EXPECT_EQ(run.host, 9 * kClusterOfRules + 512);
  EXPECT_EQ(run.length, kClusterOfRules - 512);
  const qcow2::Run next = run_at({zeroes.begin() + 1, zeroes.end()}, 0, UINT32_MAX, rules);
  EXPECT_FALSE(next.has_host);
  EXPECT_EQ(next.length, 2 * kClusterOfRules);

  MappingRules parts = extended_rules();
  parts.by_place = true;
  const qcow2::Run unallocated = run_at({at_cluster(5, 1)}, kSubclusterOfRules, 512, parts);
  EXPECT_EQ(unallocated.kind, Kind::unallocated);
  EXPECT_EQ(unallocated.host, 5 * kClusterOfRules + kSubclusterOfRules);
}

TEST(Qcow2Mapping, CompressedClustersAreNeverJoined) {
  const L2Entry compressed{.entry = kCompressed | kClusterOfRules};
  const qcow2::Run run = run_at({compressed, compressed}, 0, UINT32_MAX, standard_rules());
  EXPECT_EQ(run.kind, Kind::compressed);
  EXPECT_EQ(run.length, kClusterOfRules);
  EXPECT_EQ(run.entry, compressed);
}

TEST(Qcow2Mapping, SubclustersAlikeAreJoinedAcrossClusters) {
  const std::vector<L2Entry> entries = {at_cluster(5, 0xc0000000), at_cluster(6, 0x00000003)};
  const qcow2::Run run = run_at(entries, 30 * kSubclusterOfRules, UINT32_MAX, extended_rules());
  EXPECT_EQ(run.kind, Kind::data);
  EXPECT_EQ(run.host, 5 * kClusterOfRules + 30 * kSubclusterOfRules);
  EXPECT_EQ(run.length, 4 * kSubclusterOfRules);
  const qcow2::Run before = run_at(entries, 512, UINT32_MAX, extended_rules());
  EXPECT_EQ(before.kind, Kind::unallocated);
  EXPECT_EQ(before.length, 30 * kSubclusterOfRules - 512);
}

TEST(Qcow2Mapping, ADamagedEntryEndsTheRunBeforeIt) {
  const L2Entry damaged{.entry = 5 * kClusterOfRules | 2};
  EXPECT_EQ(run_at({{}, damaged}, 0, UINT32_MAX, standard_rules()).length, kClusterOfRules);
  qcow2::Run run;
  const auto table = table_of({damaged}, standard_rules());
  EXPECT_EQ(first_run(table, 0, 512, standard_rules(), run).error(), EUCLEAN);
}

TEST(Qcow2Mapping, TheLengthOfACompressedStreamCountsItsFirstSectorInPart) {
  const L2Entry entry{.entry = kCompressed | uint64_t{2} << (62 - 8) | (kClusterOfRules + 100)};
  const CompressedPlace place = entry.compressed_place(16);
  EXPECT_EQ(place.offset, kClusterOfRules + 100);
  EXPECT_EQ(place.length, 3U * 512 - 100);
}

}  // namespace
}  // namespace sluice::qcow2
