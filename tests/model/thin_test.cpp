// The metadata of thin pools under random changes and power cuts (thin_run.hpp).
// SLUICE_TEST_SEED and SLUICE_TEST_ROUNDS work as in metadata_remap_test.cpp. SLUICE_TEST_FULL=1:
// ten times as many rounds.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "model/seeds.hpp"
#include "model/thin_run.hpp"

namespace sluice::test {
namespace {

void run_pools(const ThinRun::Shape& shape, uint64_t usual, int transactions) {
  if (std::system("command -v thin_check >/dev/null") != 0) {
    GTEST_SKIP() << "needs thin_check (package thin-provisioning-tools)";
  }
  const Seeds seeds = choose_seeds(usual * (runs_all_cases() ? 10 : 1));
  ThinCounts counts;
  const WorkFolder folder;
  for (uint64_t seed = seeds.first; seed < seeds.end() && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("SLUICE_TEST_SEED={}", seed));
    ThinRun(shape, seed, folder, counts).run(transactions);
  }
  fmt::print("[  counts  ] {} commits, {} cuts, {} judged, {} changes, {} refused\n",
             counts.commits, counts.cuts, counts.judged, counts.changes, counts.refused);
}

TEST(ThinModel, APowerCutLeavesTheLastCommit) { run_pools({}, 4, 40); }

// Trees with several levels, in which nodes are split and merged.
TEST(ThinModel, DeepTrees) {
  run_pools({.metadata_blocks = 3000, .data_blocks = 200000, .device_blocks = 60000, .devices = 3},
            1, 60);
}

// What is full refuses changes, and loses nothing (T6.2).
TEST(ThinModel, AFullDataDevice) { run_pools({.data_blocks = 1000, .device_blocks = 2000}, 3, 30); }

// Deletions have room nevertheless.
TEST(ThinModel, FullMetadata) {
  run_pools({.metadata_blocks = 48, .data_blocks = 100000, .device_blocks = 100000}, 6, 40);
}

// Many snapshots: counts that bitmaps cannot express.
TEST(ThinModel, ManySnapshots) {
  run_pools({.metadata_blocks = 2000, .device_blocks = 800, .devices = 40}, 2, 40);
}

// Also of metadata that is full, and beyond one bitmap (T6.9).
TEST(ThinModel, BothDevicesGrow) {
  run_pools({.metadata_blocks = 600, .data_blocks = 60000, .device_blocks = 50000, .grows = true},
            2, 40);
  run_pools({.metadata_blocks = 18000, .data_blocks = 60000, .cuts_each = 300, .grows = true}, 1,
            40);
}

TEST(ThinModel, AFailedCommitIsTheLast) { run_pools({.cuts_each = 20, .fails_each = 60}, 30, 40); }

}  // namespace
}  // namespace sluice::test
