// The allocator of a qcow2 image, through the target.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "unit/target/qcow2/image_rig.hpp"

namespace sluice::qcow2::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class Qcow2Clusters : public WithQemu {};

// Where the last byte of the image is written.
class HighWater {
 public:
  explicit HighWater(ImageRig& rig) {
    rig.on_request([this](const Request& request) {
      const bool writes = request.op == Op::write || request.op == Op::write_zeroes;
      if (writes) bytes = std::max(bytes, request.offset + request.length);
      return 0;
    });
  }
  uint64_t bytes = 0;
};

// T4.14
TEST_F(Qcow2Clusters, OverwritingDoesNotGrowTheImage) {
  ImageRig rig({.options = "-o cluster_size=4k 4M"});
  ASSERT_EQ(rig.start(), 0);
  HighWater high(rig);
  ASSERT_EQ(rig.write(0, kMiB, 2), 0);
  const uint64_t first = high.bytes;
  for (uint64_t round = 0; round < 40; ++round) {
    ASSERT_EQ(rig.write(round * 512, kMiB - 40 * 512, 3 + round), 0);
    if (round % 4 == 0) ASSERT_EQ(rig.flush(), 0);
  }
  EXPECT_EQ(high.bytes, first);
  rig.disk->fails = nullptr;
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

// T4.14: at most twice the data is allocated, before a flush frees what was discarded.
TEST_F(Qcow2Clusters, DiscardedClustersAreUsedAgain) {
  for (const bool zeroes : {false, true}) {
    ImageRig rig({.options = "-o cluster_size=4k 4M"});
    ASSERT_EQ(rig.start(), 0);
    HighWater high(rig);
    for (uint64_t round = 0; round < 40; ++round) {
      ASSERT_EQ(rig.write(0, kMiB, 2 + round), 0);
      ASSERT_EQ(zeroes ? rig.write_zeroes(0, kMiB) : rig.discard(0, kMiB), 0);
      ASSERT_EQ(rig.flush(), 0);
    }
    EXPECT_LT(high.bytes, 3 * kMiB);
    rig.disk->fails = nullptr;
    EXPECT_EQ(rig.stop(), 0);
    EXPECT_EQ(rig.check(), "");
  }
}

// The refcount table of the smallest clusters is full soon.
TEST_F(Qcow2Clusters, TheRefcountTableGrows) {
  for (const int bits : {1, 16, 64}) {
    SCOPED_TRACE(bits);
    ImageRig rig({.options = fmt::format("-o cluster_size=512,refcount_bits={} 12M", bits)});
    ASSERT_EQ(rig.start(), 0);
    for (uint64_t offset = 0; offset < 10 * kMiB; offset += kMiB) {
      ASSERT_EQ(rig.write(offset, kMiB, 2), 0);
    }
    ASSERT_EQ(rig.flush(), 0);
    EXPECT_TRUE(rig.has(0, 10 * kMiB, 2));
    EXPECT_EQ(rig.stop(), 0);
    EXPECT_EQ(rig.check(), "");
    ASSERT_EQ(rig.start(), 0);
    EXPECT_TRUE(rig.has(0, 10 * kMiB, 2));
    EXPECT_EQ(rig.stop(), 0);
  }
}

// T4.11: far more writers than blocks in the cache, each with a table of its own.
TEST_F(Qcow2Clusters, ManyWritersWithTheSmallestCache) {
  constexpr uint64_t kWriters = 300;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    ImageRig rig({.options = "-o cluster_size=512 12M"});
    ASSERT_EQ(rig.start(), 0);
    std::vector<std::unique_ptr<Asked>> all;
    for (uint64_t i = 0; i < kWriters; ++i) {
      all.push_back(rig.begin(Op::write, i * 32768 + i % 63 * 512, 1024, 2 + i));
      if (i % 50 == 0) all.push_back(rig.begin(Op::flush, 0, 0));
    }
    rig.finish(random);
    for (const auto& each : all) {
      ASSERT_TRUE(each->task->finished()) << "it waits for ever";
      EXPECT_EQ(each->error(), 0);
    }
    for (uint64_t i = 0; i < kWriters; ++i) {
      ASSERT_TRUE(rig.has(i * 32768 + i % 63 * 512, 1024, 2 + i));
    }
    EXPECT_EQ(rig.stop(), 0);
    EXPECT_EQ(rig.check(), "");
  }
}

// What was allocated in advance is freed at the end, and a second start goes on.
TEST_F(Qcow2Clusters, NothingIsLeakedByAStop) {
  ImageRig rig({.options = "-o cluster_size=64k 8M"});
  for (uint64_t round = 0; round < 4; ++round) {
    ASSERT_EQ(rig.start(), 0);
    ASSERT_EQ(rig.write(round * kMiB, 65536, 2 + round), 0);
    ASSERT_EQ(rig.discard(round * kMiB, 65536), 0);
    ASSERT_EQ(rig.write(round * kMiB + 4096, 4096, 9), 0);
    EXPECT_EQ(rig.stop(), 0);
    EXPECT_EQ(rig.check(), "");
  }
}

// A compressed cluster shares its host clusters with others.
TEST_F(Qcow2Clusters, CompressedClustersAreFreedOneByOne) {
  std::string commands = "qemu-io -f qcow2";
  for (int i = 0; i < 32; ++i) {
    commands += fmt::format(" -c 'write -c -P {} {}k 64k'", i + 1, i * 64);
  }
  ImageRig rig({.options = "8M", .commands = commands + " image.qcow2"});
  ASSERT_EQ(rig.start(), 0);
  for (uint64_t i = 0; i < 32; ++i) {
    ASSERT_EQ(i % 2 == 0 ? rig.write(i * 65536, 65536, 5) : rig.discard(i * 65536, 65536), 0);
    if (i % 5 == 0) ASSERT_EQ(rig.flush(), 0);
    EXPECT_TRUE(rig.has(i * 65536, 65536, i % 2 == 0 ? 5 : 0));
  }
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

// --- Overlays. T4.6, T4.7: zeroes and discards never show the backing file.

struct Overlay {
  std::string name;
  std::string options;
  uint64_t backing_bytes;
};

class Qcow2Overlay : public WithQemu, public testing::WithParamInterface<Overlay> {
 protected:
  void run(bool written, const std::function<int(ImageRig&)>& clear) {
    ImageRig rig({.options = GetParam().options, .backing_bytes = GetParam().backing_bytes});
    ASSERT_EQ(rig.start(), 0);
    if (written) ASSERT_EQ(rig.write(0, kMiB, 2), 0);
    ASSERT_EQ(clear(rig), 0);
    for (const bool again : {false, true}) {
      EXPECT_TRUE(rig.has(4096, kMiB / 2, 0) || (may_stay_ && rig.has(4096, kMiB / 2, 2)));
      EXPECT_TRUE(rig.has(kMiB, 4096, GetParam().backing_bytes > kMiB ? 1 : 0)) << "not touched";
      ASSERT_EQ(rig.stop(), 0);
      EXPECT_EQ(rig.check(), "");
      if (!again) ASSERT_EQ(rig.start(), 0);
    }
  }
  bool may_stay_ = false;
};

TEST_P(Qcow2Overlay, ZeroesOverTheBackingFile) {
  for (const bool may_unmap : {false, true}) {
    run(false, [=](ImageRig& rig) { return rig.write_zeroes(4096, kMiB / 2, may_unmap); });
  }
}

TEST_P(Qcow2Overlay, ZeroesOverWrittenData) {
  for (const bool may_unmap : {false, true}) {
    run(true, [=](ImageRig& rig) { return rig.write_zeroes(4096, kMiB / 2, may_unmap); });
  }
}

TEST_P(Qcow2Overlay, ADiscardOfWrittenData) {
  may_stay_ = GetParam().name == "Version2";
  run(true, [](ImageRig& rig) { return rig.discard(0, kMiB); });
}

INSTANTIATE_TEST_SUITE_P(
    All, Qcow2Overlay,
    testing::Values(Overlay{"Standard", "2M", 2 << 20},
                    Overlay{"SmallClusters", "-o cluster_size=512 2M", 2 << 20},
                    Overlay{"Subclusters", "-o cluster_size=16k,extended_l2=on 2M", 2 << 20},
                    Overlay{"Version2", "-o compat=0.10 2M", 2 << 20},
                    Overlay{"ShortBackingFile", "2M", (100 << 10) + 512}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace sluice::qcow2::test
