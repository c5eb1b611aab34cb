// MetadataCache under random users: after a power cut at any moment all declared orders hold, with
// errors, small caches and several reactors. SLUICE_TEST_SEED chooses the world; with
// SLUICE_TEST_ROUNDS=N there are N of them from there on.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

#include "model/metadata_world.hpp"
#include "model/seeds.hpp"

namespace sluice::test {
namespace {

class MetadataCacheModel : public testing::Test {
 protected:
  template <typename Check>
  void repeat(uint64_t worlds, bool errors, Check check) {
    const Seeds seeds = choose_seeds(worlds);
    uint64_t cuts = 0;
    for (uint64_t seed = seeds.first; seed < seeds.end() && !HasFailure(); ++seed) {
      MetadataWorld world(seed, MetadataWorld::choose(seed, errors));
      SCOPED_TRACE(fmt::format("SLUICE_TEST_SEED={} is {}", seed, world.text()));
      check(world);
      world.finish();
      EXPECT_EQ(world.failure(), "");
      cuts += world.cuts();
    }
    fmt::print("[   cuts   ] {}\n", cuts);
  }
};

TEST_F(MetadataCacheModel, PowerCuts) {
  repeat(60, false, [](MetadataWorld& world) { world.run(60); });
}

TEST_F(MetadataCacheModel, ErrorsAndPowerCuts) {
  repeat(60, true, [](MetadataWorld& world) { world.run(60); });
}

TEST_F(MetadataCacheModel, SeveralReactors) {
  repeat(10, false, [](MetadataWorld& world) { world.run_on_threads(3, 100); });
}

TEST_F(MetadataCacheModel, SeveralReactorsAndErrors) {
  repeat(10, true, [](MetadataWorld& world) { world.run_on_threads(3, 100); });
}

}  // namespace
}  // namespace sluice::test
