// The mirror under random requests, dying legs and power cuts (mirror_run.hpp). SLUICE_TEST_SEED
// and SLUICE_TEST_ROUNDS work as in metadata_remap_test.cpp.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "model/mirror_run.hpp"
#include "model/seeds.hpp"

namespace sluice::test {
namespace {

// The same in each run, so that it says the same of the same code; other seeds are for longer runs.
constexpr uint64_t kUsualSeed = 1;

TEST(MirrorModel, PowerCutsAndDyingLegs) {
  const Seeds seeds = choose_seeds(34, kUsualSeed);  // some 500 power cuts
  MirrorCounts counts;
  for (uint64_t seed = seeds.first; seed < seeds.end() && !HasFailure(); ++seed) {
    std::mt19937_64 random(seed);
    MirrorShape shape{.legs = 2 + random() % 3};
    if (random() % 3 == 0) shape.placement = mirror::Placement::end;
    SCOPED_TRACE(fmt::format("SLUICE_TEST_SEED={} legs={} placement={}", seed, shape.legs,
                             name_of(shape.placement)));
    MirrorRun run({.shape = shape, .counts = counts, .cuts = 14}, random(), make_mirror_legs(shape),
                  BlockOracle(shape.data_bytes));
    run.run(800);
  }
  fmt::print(
      "[   cuts   ] {}, {} with a lost leg; {} requests, {} of them failed; {} deaths of "
      "legs, {} verbs, {} restarts\n",
      counts.cuts, counts.lost_legs, counts.requests, counts.failed, counts.deaths, counts.verbs,
      counts.restarts);
}

}  // namespace
}  // namespace sluice::test
