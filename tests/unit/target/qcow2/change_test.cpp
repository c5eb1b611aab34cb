#include "target/qcow2/change.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kChanged = 65536;
constexpr uint64_t kPart = kChanged / kSubclusters;

MappingRules plain_rules() {
  MappingRules rules;
  rules.host_end = 100 * kChanged;
  return rules;
}

MappingRules subcluster_rules() {
  MappingRules rules = plain_rules();
  rules.entry_bytes = 16;
  return rules;
}

// A write of [begin, end) on clusters with these entries; fresh ones come to lie from cluster 50
// on.
Change planned(uint64_t begin, uint64_t end, const std::vector<L2Entry>& old,
               const MappingRules& rules) {
  Change change{.offset = begin / kChanged * kChanged, .count = old.size()};
  for (size_t i = 0; i < old.size(); ++i) {
    change.old[i] = old[i];
    plan_cluster(change, i, begin, end, rules);
    if (change.fresh[i]) change.now[i].entry = (50 + i) * kChanged | kCopied;
  }
  return change;
}

void expect_edge(const Edge& edge, uint64_t begin, uint64_t end, uint64_t host) {
  EXPECT_EQ(edge.begin, begin);
  EXPECT_EQ(edge.end, end);
  EXPECT_EQ(edge.host, host);
}

TEST(Qcow2Change, AnUnallocatedClusterIsFilledAroundTheWrite) {
  const uint64_t begin = 7 * kChanged + 1024;
  const Change change = planned(begin, begin + 512, {{}}, plain_rules());
  EXPECT_TRUE(change.fresh[0]);
  EXPECT_EQ(change.fresh_from(0), 1U);
  expect_edge(front_edge(change, begin, plain_rules()), 7 * kChanged, begin, 50 * kChanged);
  expect_edge(back_edge(change, begin + 512, plain_rules()), begin + 512, 8 * kChanged,
              50 * kChanged + 1536);
}

TEST(Qcow2Change, AWholeClusterHasNoEdges) {
  const Change change = planned(kChanged, 3 * kChanged, {{}, {}}, plain_rules());
  EXPECT_EQ(change.fresh_from(0), 2U);
  EXPECT_EQ(change.fresh_from(1), 1U);
  EXPECT_EQ(front_edge(change, kChanged, plain_rules()).length(), 0U);
  EXPECT_EQ(back_edge(change, 3 * kChanged, plain_rules()).length(), 0U);
}

TEST(Qcow2Change, AClusterOfOursIsKept) {
  const L2Entry ours{.entry = 9 * kChanged | kCopied};
  const Change change = planned(512, 1024, {ours}, plain_rules());
  EXPECT_FALSE(change.fresh[0]);
  EXPECT_EQ(change.now[0], ours);
  EXPECT_EQ(front_edge(change, 512, plain_rules()).length(), 0U);
  EXPECT_EQ(back_edge(change, 1024, plain_rules()).length(), 0U);
}

TEST(Qcow2Change, AZeroClusterOfOursIsKeptAndFilled) {
  const Change change =
      planned(512, 1024, {{.entry = 9 * kChanged | kCopied | kZeroFlag}}, plain_rules());
  EXPECT_FALSE(change.fresh[0]);
  EXPECT_EQ(change.now[0].entry, 9 * kChanged | kCopied);
  expect_edge(front_edge(change, 512, plain_rules()), 0, 512, 9 * kChanged);
  expect_edge(back_edge(change, 1024, plain_rules()), 1024, kChanged, 9 * kChanged + 1024);
}

TEST(Qcow2Change, AClusterOfASnapshotIsNotOverwritten) {
  const Change change = planned(512, 1024, {{.entry = 9 * kChanged}}, plain_rules());
  EXPECT_TRUE(change.fresh[0]);
  expect_edge(front_edge(change, 512, plain_rules()), 0, 512, 50 * kChanged);
}

TEST(Qcow2Change, ACompressedClusterIsReplaced) {
  const Change change = planned(512, 1024, {{.entry = kCompressed | kChanged}}, plain_rules());
  EXPECT_TRUE(change.fresh[0]);
  EXPECT_EQ(back_edge(change, 1024, plain_rules()).end, kChanged);
}

TEST(Qcow2Change, OnlyTheSubclustersOfAWriteAreFilled) {
  const uint64_t begin = 2 * kPart + 512;
  const uint64_t end = 4 * kPart + 512;
  const Change change = planned(begin, end, {{}}, subcluster_rules());
  EXPECT_TRUE(change.fresh[0]);
  EXPECT_EQ(change.now[0].bitmap, 0b11100U);
  expect_edge(front_edge(change, begin, subcluster_rules()), 2 * kPart, begin,
              50 * kChanged + 2 * kPart);
  expect_edge(back_edge(change, end, subcluster_rules()), end, 5 * kPart,
              50 * kChanged + 4 * kPart + 512);
}

TEST(Qcow2Change, AWriteEndsTheZeroesOfItsSubclusters) {
  const L2Entry old{.entry = 9 * kChanged | kCopied, .bitmap = 0xf00000000 | 0xf0};
  const Change change = planned(kPart, 2 * kPart, {old}, subcluster_rules());
  EXPECT_FALSE(change.fresh[0]);
  EXPECT_EQ(change.now[0].bitmap, 0xd00000000U | 0xf2);
  EXPECT_EQ(front_edge(change, kPart, subcluster_rules()).length(), 0U);
  EXPECT_EQ(back_edge(change, 2 * kPart, subcluster_rules()).length(), 0U);
}

TEST(Qcow2Change, AllSubclusters) {
  const Change change = planned(0, kChanged, {{}}, subcluster_rules());
  EXPECT_EQ(change.now[0].bitmap, uint64_t{UINT32_MAX});
}

TEST(Qcow2Change, AClusterWithSubclustersOfASnapshotIsCopiedAsAWhole) {
  const L2Entry old{.entry = 9 * kChanged, .bitmap = 0x1};
  const Change change = planned(kPart + 512, kPart + 1024, {old}, subcluster_rules());
  EXPECT_TRUE(change.fresh[0]);
  EXPECT_EQ(change.now[0].bitmap, uint64_t{UINT32_MAX});
  EXPECT_EQ(front_edge(change, kPart + 512, subcluster_rules()).begin, 0U);
  EXPECT_EQ(back_edge(change, kPart + 1024, subcluster_rules()).end, kChanged);
}

TEST(Qcow2Change, ExternalDataStaysAtItsOffset) {
  MappingRules rules = plain_rules();
  rules.external = true;
  const Change change = planned(7 * kChanged + 512, 7 * kChanged + 1024, {{}}, rules);
  EXPECT_FALSE(change.fresh[0]);
  EXPECT_EQ(change.now[0].entry, 7 * kChanged | kCopied);
  expect_edge(front_edge(change, 7 * kChanged + 512, rules), 7 * kChanged, 7 * kChanged + 512,
              7 * kChanged);
}

TEST(Qcow2Change, EachRefcountBlockIsListedOnce) {
  Change change;
  change.take({.offset = 0, .count = 1, .counted = {.slot = nullptr, .number = 4}});
  change.take({.offset = 512, .count = 2, .counted = {.slot = nullptr, .number = 4}});
  change.take({.offset = 4096, .count = 1, .counted = {.slot = nullptr, .number = 5}});
  EXPECT_EQ(change.taken_count, 3U);
  EXPECT_EQ(change.refcounts().size(), 2U);
}

}  // namespace
}  // namespace sluice::qcow2
