// decide() on the histories of random arrays of two to four legs, with crashes between any two
// durable writes: no leg that lacks an acknowledged write is taken as good (T3.3 to T3.7).
// SLUICE_TEST_SEED repeats the run of this seed alone; SLUICE_TEST_ROUNDS: how many runs.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "unit/target/mirror/array_world.hpp"

namespace sluice::mirror::test {
namespace {

TEST(MirrorAssembly, NoLegThatLacksAnAcknowledgedWriteIsTakenAsGood) {
  const char* const chosen = std::getenv("SLUICE_TEST_SEED");
  const uint64_t first = chosen == nullptr ? 0 : std::strtoull(chosen, nullptr, 10);
  const char* const rounds = std::getenv("SLUICE_TEST_ROUNDS");
  const uint64_t most = rounds == nullptr ? 3000 : std::strtoull(rounds, nullptr, 10);
  const uint64_t runs = chosen == nullptr ? most : 1;
  int started = 0;
  int refused = 0;
  int by_bits = 0;
  int all = 0;
  int resolved = 0;
  for (uint64_t seed = first; seed < first + runs; ++seed) {
    ArrayWorld world(seed, 2 + seed % 3);
    ASSERT_TRUE(world.live(20)) << "SLUICE_TEST_SEED=" << seed << ": " << world.failure();
    started += world.started();
    refused += world.refused();
    by_bits += world.behind_by_bits();
    all += world.behind_all();
    resolved += world.resolved();
  }
  if (runs < 3000) return;
  // Each of the cases occurs often.
  EXPECT_GT(started, 10'000);
  EXPECT_GT(refused, 1000);
  EXPECT_GT(by_bits, 1000);
  EXPECT_GT(all, 1000);
  EXPECT_GT(resolved, 500);
}

}  // namespace
}  // namespace sluice::mirror::test
