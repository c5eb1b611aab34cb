// Volumes of a thin pool under random requests and power cuts (thin_volume_run.hpp).
// SLUICE_TEST_SEED and SLUICE_TEST_ROUNDS work as in metadata_remap_test.cpp. SLUICE_TEST_FULL=1:
// ten times as many rounds.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/log.hpp"
#include "model/seeds.hpp"
#include "model/thin_volume_run.hpp"

namespace sluice::test {
namespace {

void run_volumes(const ThinVolumeRun::Shape& shape, uint64_t usual, int cuts) {
  const Seeds seeds = choose_seeds(usual * (runs_all_cases() ? 10 : 1));
  log().set_level(spdlog::level::critical);
  ThinVolumeCounts counts;
  const WorkFolder folder;
  for (uint64_t seed = seeds.first; seed < seeds.end() && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("SLUICE_TEST_SEED={}", seed));
    ThinVolumeRun run({.shape = shape, .folder = folder, .counts = counts, .cuts = cuts}, seed,
                      ThinVolumeRun::make(shape));
    run.run(3000);
  }
  log().set_level(spdlog::level::info);
  fmt::print("[  counts  ] {} cuts, {} judged, {} requests, {} failed, {} snapshots, {} deleted\n",
             counts.cuts, counts.judged, counts.requests, counts.failed, counts.snapshots,
             counts.deletions);
}

// T6.1: no commit is on the disk before the data that it leads to.
TEST(ThinVolumeModel, PowerCuts) { run_volumes({.data_blocks = 400}, 2, 60); }

TEST(ThinVolumeModel, PowerCutsOfAFullPool) { run_volumes({}, 3, 60); }

TEST(ThinVolumeModel, PowerCutsOfFailingDisks) { run_volumes({.fails_each = 2000}, 3, 40); }

}  // namespace
}  // namespace sluice::test
