#include "target/thin/mapping_cache.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace sluice::thin::test {
namespace {

MappingCache::Group group_of(uint64_t first) {
  MappingCache::Group group;
  for (uint64_t i = 0; i < group.size(); ++i) group[i] = Place(first + i, i % 2 == 0);
  return group;
}

TEST(ThinMappingCache, FindsWhatIsThere) {
  MappingCache cache(1 << 20);
  EXPECT_FALSE(cache.find({.id = 1}, 100));
  cache.put({.id = 1}, 100, group_of(1000));
  const auto found = cache.find({.id = 1}, 100);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->is_mapped());
  EXPECT_EQ(found->data_block(), 1000 + 100 % MappingCache::kGroup);
  EXPECT_EQ(cache.find({.id = 1}, 101)->is_shared(), false);
  EXPECT_FALSE(cache.find({.id = 2}, 100));
  EXPECT_FALSE(cache.find({.id = 1, .generation = 1}, 100)) << "before a snapshot";
  cache.change({.id = 1}, 100, Place());
  EXPECT_FALSE(cache.find({.id = 1}, 100)->is_mapped());
  cache.change({.id = 3}, 100, Place(1, false));
  EXPECT_FALSE(cache.find({.id = 3}, 100));
}

TEST(ThinMappingCache, IsBounded) {
  MappingCache cache(0);
  for (uint64_t i = 0; i < 100; ++i) cache.put({.id = 1}, i * MappingCache::kGroup, group_of(i));
  uint64_t kept = 0;
  for (uint64_t i = 0; i < 100; ++i)
    kept += cache.find({.id = 1}, i * MappingCache::kGroup) ? 1 : 0;
  EXPECT_EQ(kept, 4);
  EXPECT_LT(cache.bytes(), 4096);
}

// Groups take each other's place while they are looked up: what is found is always right.
TEST(ThinMappingCache, LookupsAreWholeWhileItChanges) {
  constexpr uint64_t kGroups = 16;
  MappingCache cache(0);
  std::atomic<bool> ended = false;
  std::atomic<uint64_t> hits = 0;
  std::atomic<uint64_t> wrong = 0;
  const auto look = [&](uint64_t seed) {
    uint64_t number = seed;
    while (!ended) {
      number = number * 6364136223846793005 + 1442695040888963407;
      const uint64_t block = (number >> 33) % (kGroups * MappingCache::kGroup);
      const auto found = cache.find({.id = 1}, block);
      if (!found) continue;
      ++hits;
      if (found->data_block() != block + 7) ++wrong;
    }
  };
  std::thread one(look, 1);
  std::thread other(look, 2);
  for (uint64_t i = 0; i < 300000; ++i) {
    const uint64_t first = i % kGroups * MappingCache::kGroup;
    MappingCache::Group group;
    for (uint64_t at = 0; at < group.size(); ++at) group[at] = Place(first + at + 7, false);
    cache.put({.id = 1}, first, group);
  }
  ended = true;
  one.join();
  other.join();
  EXPECT_GT(hits, 0);
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace sluice::thin::test
