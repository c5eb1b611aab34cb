// Volumes of a thin pool under random requests and power cuts (thin_volume_run.hpp).
// SLUICE_TEST_SEED and SLUICE_TEST_ROUNDS work as in metadata_remap_test.cpp. SLUICE_TEST_FULL=1:
// ten times as many rounds.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/log.hpp"
#include "model/thin_volume_run.hpp"

namespace sluice::test {
namespace {

void run_volumes(const ThinVolumeRun::Shape& shape, uint64_t usual, int cuts) {
  const char* const chosen = std::getenv("SLUICE_TEST_SEED");
  const char* const rounds = std::getenv("SLUICE_TEST_ROUNDS");
  const uint64_t first =
      chosen == nullptr ? std::random_device()() : std::strtoull(chosen, nullptr, 0);
  const uint64_t full = std::getenv("SLUICE_TEST_FULL") == nullptr ? 1 : 10;
  const uint64_t count = rounds != nullptr   ? std::strtoull(rounds, nullptr, 0)
                         : chosen != nullptr ? 1
                                             : usual * full;
  fmt::print("[  seeds   ] {} and the {} after it\n", first, count - 1);
  log().set_level(spdlog::level::critical);
  ThinVolumeCounts counts;
  const WorkFolder folder;
  for (uint64_t seed = first; seed < first + count && !testing::Test::HasFailure(); ++seed) {
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
