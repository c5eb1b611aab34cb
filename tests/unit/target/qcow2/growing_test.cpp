// Growth of the disk in an image, when requests fail or others are in flight.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "target/life/life_call.hpp"
#include "unit/target/qcow2/image_rig.hpp"

namespace sluice::qcow2::test {
namespace {

constexpr uint64_t kGrownTo = uint64_t{2} << 30;  // needs a longer L1 table
constexpr uint64_t kOneCluster = 65536;

class Qcow2Growing : public WithQemu {};

struct GrowingCase {
  const char* name;
  ImageRig::Setup setup;
};

class Qcow2GrowthFails : public WithQemu, public testing::WithParamInterface<GrowingCase> {};

// The request of this index fails, then growth is repeated. What is written in between must be
// there in the end. Returns false if there were fewer requests.
bool grow_with_failure(const ImageRig::Setup& setup, int index, int error, bool flushes_too) {
  ImageRig rig(setup);
  EXPECT_EQ(rig.start(), 0);
  EXPECT_EQ(rig.write(0, kOneCluster, 7), 0);
  int left = index;
  rig.on_request([&](const Request& request) {
    const bool counts = flushes_too || request.op != Op::flush;
    return counts && left-- == 0 ? error : 0;
  });
  const int grown = rig.grow(kGrownTo);
  const bool failed = left < 0;
  EXPECT_TRUE(grown == 0 || grown == error) << grown;
  rig.disk->fails = nullptr;
  const int written = rig.write(kOneCluster, kOneCluster, 8);
  const int flushed = rig.flush();
  if (!flushes_too) {
    EXPECT_EQ(written, 0);
    EXPECT_EQ(flushed, 0);
    EXPECT_EQ(rig.grow(kGrownTo), 0);
  }
  const int stopped = rig.stop();
  if (!flushes_too) EXPECT_EQ(stopped, 0);
  const std::string found = rig.check();
  // After a failed flush nothing is written any more: what was allocated is leaked.
  EXPECT_TRUE(found.empty() || (flushes_too && found.starts_with("3:"))) << found;
  EXPECT_EQ(rig.start(), 0);
  if (!flushes_too) EXPECT_EQ(rig.target->geometry().size_bytes, kGrownTo);
  if (flushed == 0) {
    EXPECT_TRUE(rig.has(0, kOneCluster, 7));
    EXPECT_TRUE(rig.has(kOneCluster, kOneCluster, 8));
  }
  EXPECT_EQ(rig.stop(), 0);
  return failed;
}

// T4.1: nothing is leaked, also not the new L1 table; and if the header could not be written that
// leads to it, what is written later is found nevertheless.
TEST_P(Qcow2GrowthFails, NothingIsLeakedOrLost) {
  for (const int error : {EIO, ENOSPC}) {
    for (int index = 0; index < 100; ++index) {
      SCOPED_TRACE(fmt::format("request {} fails with errno {}", index, error));
      if (!grow_with_failure(GetParam().setup, index, error, false) || HasFailure()) break;
    }
  }
}

TEST_P(Qcow2GrowthFails, AFailedFlushOnlyLeaks) {
  for (int index = 0; index < 100; ++index) {
    SCOPED_TRACE(fmt::format("request {} fails", index));
    if (!grow_with_failure(GetParam().setup, index, EIO, true) || HasFailure()) break;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Qcow2GrowthFails,
    testing::Values(GrowingCase{.name = "Plain", .setup = {.options = "8M"}},
                    GrowingCase{.name = "SmallClusters",
                                .setup = {.options = "-o cluster_size=64k,refcount_bits=64 8M"}},
                    GrowingCase{.name = "Snapshot",
                                .setup = {.options = "8M",
                                          .commands = "qemu-io -c 'write -P 1 0 1M' image.qcow2 &&"
                                                      " qemu-img snapshot -c one image.qcow2"}}),
    [](const auto& info) { return info.param.name; });

// A write that maps the last cluster clears it up to the present end of the disk. The data file has
// something else behind that.
TEST_F(Qcow2Growing, WhatAnExternalFileHasBehindTheEndStaysHidden) {
  constexpr uint64_t kSize = kOneCluster + 1536;
  for (uint64_t seed = 0; seed < 80; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    ImageRig rig({.options = fmt::format("-o data_file=data.raw {}", kSize),
                  .commands = "head -c 131072 /dev/zero | tr '\\0' x > data.raw"});
    ASSERT_EQ(rig.start(), 0);
    const auto some = [&](uint64_t most) {
      for (uint64_t steps = random() % most; steps > 0 && rig.ring.pending() != 0; --steps) {
        rig.ring.perform(random() % rig.ring.pending());
      }
    };
    LifeRequest life(rig.ring);
    std::optional<Task> growing;
    std::unique_ptr<Asked> writing;
    if (seed % 2 == 0) writing = rig.begin(Op::write, kOneCluster, 512, 3);
    some(8);
    growing.emplace(rig.target->grow(life.request, 2 * kOneCluster));
    some(12);
    if (seed % 2 != 0) writing = rig.begin(Op::write, kOneCluster, 512, 3);
    rig.finish(random);
    ASSERT_TRUE(growing->finished());
    EXPECT_EQ(growing->status().error(), 0);
    EXPECT_EQ(writing->error(), 0);
    ASSERT_EQ(rig.stop(), 0);
    ASSERT_EQ(rig.start(), 0);
    EXPECT_TRUE(rig.has(kOneCluster, 512, 3));
    EXPECT_TRUE(rig.has(kSize, 2 * kOneCluster - kSize, 0));
    EXPECT_EQ(rig.stop(), 0);
  }
}

// --- Refcounts that contradict the flag COPIED. The image of QEMU has its refcount block in
// cluster 2, with 16 bits for each cluster, and the first data in cluster 5.

ImageRig::Setup miscounted(const char* refcount) {
  return {.options = "8M",
          .commands = fmt::format("qemu-io -f qcow2 -c 'write -P 1 0 256k' image.qcow2 && printf"
                                  " '{}' | dd of=image.qcow2 bs=1 seek=131082 conv=notrunc"
                                  " status=none",
                                  refcount)};
}

// T4.17
TEST_F(Qcow2Growing, AClusterWhoseRefcountIsNotOneIsNotWritten) {
  for (const char* const refcount : {"\\0\\0", "\\0\\2"}) {
    for (const uint64_t length : {uint64_t{512}, kOneCluster, 6 * kOneCluster}) {
      SCOPED_TRACE(fmt::format("{} {}", refcount, length));
      ImageRig rig(miscounted(refcount));
      ASSERT_EQ(rig.start(), 0);
      std::vector<uint64_t> written;
      rig.on_request([&](const Request& request) {
        if (request.op != Op::read && request.op != Op::flush) written.push_back(request.offset);
        return 0;
      });
      EXPECT_EQ(rig.write(0, length, 3), EIO);
      EXPECT_EQ(rig.target->health().state, HealthState::failed);
      EXPECT_EQ(written, std::vector<uint64_t>{0}) << "only the header, to say so";
      EXPECT_EQ(rig.write(kOneCluster, 512, 3), EIO) << "it is read-only now";
      rig.disk->fails = nullptr;
      EXPECT_EQ(rig.stop(), 0);
    }
  }
}

TEST_F(Qcow2Growing, AClusterWhoseRefcountIsNotOneIsNotDiscarded) {
  for (const char* const refcount : {"\\0\\0", "\\0\\2"}) {
    ImageRig rig(miscounted(refcount));
    ASSERT_EQ(rig.start(), 0);
    EXPECT_EQ(rig.discard(0, kOneCluster), EIO);
    EXPECT_EQ(rig.stop(), 0);
  }
}

// The others in the same table are not affected, until that one is used.
TEST_F(Qcow2Growing, OtherClustersOfTheTableAreWritten) {
  ImageRig rig(miscounted("\\0\\0"));
  ASSERT_EQ(rig.start(), 0);
  EXPECT_EQ(rig.write(kOneCluster, 512, 3), 0);
  EXPECT_EQ(rig.write(kOneCluster, 2 * kOneCluster, 4), 0);
  EXPECT_EQ(rig.write(0, 512, 3), EIO);
  EXPECT_EQ(rig.stop(), 0);
}

// Once for each part of a table, not once for each write.
TEST_F(Qcow2Growing, RefcountsAreReadOnce) {
  ImageRig rig(
      {.options = "64M", .commands = "qemu-io -f qcow2 -c 'write -P 1 0 64M' image.qcow2"});
  ASSERT_EQ(rig.start(), 0);
  ASSERT_EQ(rig.write(0, 512, 2), 0);
  const uint64_t before = rig.target->health().numbers[0].value;  // table_hits
  for (uint64_t i = 0; i < 100; ++i) ASSERT_EQ(rig.write(i * kOneCluster, 512, 3), 0);
  EXPECT_EQ(rig.target->health().numbers[0].value - before, 100U) << "one look-up for each";
  EXPECT_EQ(rig.stop(), 0);
}

}  // namespace
}  // namespace sluice::qcow2::test
