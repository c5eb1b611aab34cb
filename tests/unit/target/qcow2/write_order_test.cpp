// The order in which a qcow2 target writes, and what is left if one of these writes fails.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "unit/target/qcow2/image_rig.hpp"

namespace sluice::qcow2::test {
namespace {

constexpr uint64_t kOf64K = 65536;

class Qcow2WriteOrder : public WithQemu {};

// What the target writes to a new image, in words.
class Diarist {
 public:
  explicit Diarist(ImageRig& rig) : cluster_bytes_(rig.target->geometry().io_opt_bytes) {
    rig.on_request([this](const Request& request) {
      if (request.op != Op::read) words.push_back(word_of(request));
      return 0;
    });
  }

  // The place of the first one of these; npos: none.
  size_t first(std::string_view word, size_t from = 0) const {
    return static_cast<size_t>(
        std::find(words.begin() + static_cast<long>(from), words.end(), word) - words.begin());
  }
  // Whether each is written, and durable before the next one is.
  testing::AssertionResult durable_in_order(std::string_view before, std::string_view after) const {
    const size_t flushed = first("flush", first(before));
    if (first(before) < flushed && flushed < first(after) && first(after) < words.size()) {
      return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << fmt::format("{}", fmt::join(words, ", "));
  }

  std::vector<std::string> words;

 private:
  std::string word_of(const Request& request) {
    if (request.op == Op::flush) return "flush";
    if (request.op == Op::discard) return "discard";
    if (request.op == Op::write_zeroes) {
      table_ = request.offset;
      return "clear table";
    }
    if (request.offset / cluster_bytes_ == 0) return "header";
    if (request.offset / cluster_bytes_ == 2) return "refcount";
    if (request.offset / cluster_bytes_ == 3) return "l1";
    return request.offset / cluster_bytes_ == table_ / cluster_bytes_ ? "l2" : "data";
  }

  const uint64_t cluster_bytes_;
  uint64_t table_ = 0;
};

// T4.4, T4.5, T4.10
TEST_F(Qcow2WriteOrder, RefcountsAndContentsAreDurableBeforeEntriesLeadToThem) {
  ImageRig rig({.options = "8M"});
  ASSERT_EQ(rig.start(), 0);
  Diarist diary(rig);
  ASSERT_EQ(rig.write(kOf64K, 512, 2), 0);
  ASSERT_EQ(rig.flush(), 0);
  EXPECT_TRUE(diary.durable_in_order("refcount", "l1"));
  EXPECT_TRUE(diary.durable_in_order("clear table", "l1"));
  EXPECT_TRUE(diary.durable_in_order("refcount", "l2"));
  EXPECT_TRUE(diary.durable_in_order("data", "l2"));
  EXPECT_EQ(diary.words.back(), "flush");
  rig.disk->fails = nullptr;
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

// A cluster is discarded, and free, only when nothing on the disk leads to it.
TEST_F(Qcow2WriteOrder, AClusterIsDiscardedAfterItsEntryIsDurablyGone) {
  ImageRig rig({.options = "8M"});
  ASSERT_EQ(rig.start(), 0);
  ASSERT_EQ(rig.write(0, kOf64K, 2), 0);
  ASSERT_EQ(rig.flush(), 0);
  Diarist diary(rig);
  ASSERT_EQ(rig.discard(0, kOf64K), 0);
  EXPECT_TRUE(diary.words.empty());
  ASSERT_EQ(rig.flush(), 0);
  const size_t discarded = diary.first("discard");
  ASSERT_LT(discarded, diary.words.size());
  ASSERT_GE(discarded, 2U);
  EXPECT_EQ(diary.words[discarded - 1], "flush");
  EXPECT_EQ(diary.first("refcount"), diary.words.size()) << "not before the next flush";
  rig.disk->fails = nullptr;
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

TEST_F(Qcow2WriteOrder, AnOverwriteInPlaceChangesNoMetadata) {
  ImageRig rig({.options = "8M"});
  ASSERT_EQ(rig.start(), 0);
  ASSERT_EQ(rig.write(0, 4 * kOf64K, 2), 0);
  ASSERT_EQ(rig.flush(), 0);
  Diarist diary(rig);
  ASSERT_EQ(rig.write(512, 3 * kOf64K, 3), 0);
  ASSERT_EQ(rig.flush(), 0);
  EXPECT_EQ(diary.words, (std::vector<std::string>{"data", "flush"}));
  rig.disk->fails = nullptr;
}

// The refcount of the second table is durable already, and data has flushes of its own.
TEST_F(Qcow2WriteOrder, ATableIsDurableBeforeItIsLinkedAlsoWithAnExternalDataFile) {
  ImageRig rig({.options = "-o cluster_size=4k,data_file=data.raw 8M"});
  ASSERT_EQ(rig.start(), 0);
  ASSERT_EQ(rig.write(0, 512, 2), 0);
  ASSERT_EQ(rig.flush(), 0);
  Diarist diary(rig);
  ASSERT_EQ(rig.write(4 << 20, 512, 3), 0);
  ASSERT_EQ(rig.flush(), 0);
  EXPECT_TRUE(diary.durable_in_order("clear table", "l1"));
  rig.disk->fails = nullptr;
  EXPECT_EQ(rig.stop(), 0);
}

TEST_F(Qcow2WriteOrder, AnExternalDataFileEndsWithinACluster) {
  constexpr uint64_t kSize = (1 << 20) + 1536;
  ImageRig rig({.options = fmt::format("-o data_file=data.raw {}", kSize)});
  ASSERT_EQ(rig.start(), 0);
  EXPECT_EQ(rig.write(kSize - 1024, 512, 2), 0);
  EXPECT_TRUE(rig.has(kSize - 1024, 512, 2));
  EXPECT_TRUE(rig.has(kSize - 512, 512, 0));
  EXPECT_EQ(rig.stop(), 0);
}

// As long as it is not, the disk leads to its clusters twice.
TEST_F(Qcow2WriteOrder, TheCopyOfATableIsLinkedBeforeAReferenceIsDropped) {
  ImageRig rig({.options = "8M",
                .commands = "qemu-io -f qcow2 -c 'write -P 1 0 64k' image.qcow2 &&"
                            " qemu-img snapshot -c one image.qcow2"});
  ASSERT_EQ(rig.start(), 0);
  Diarist diary(rig);
  ASSERT_EQ(rig.write(0, kOf64K, 2), 0);
  const auto linked = std::ranges::find(diary.words, "l1");
  ASSERT_NE(linked, diary.words.end());
  EXPECT_NE(std::find(linked, diary.words.end(), "flush"), diary.words.end());
  EXPECT_EQ(std::find(linked, diary.words.end(), "refcount"), diary.words.end());
  rig.disk->fails = nullptr;
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

struct FailingCase {
  std::string name;
  ImageRig::Setup setup;
  bool may_leak = false;  // a reference that could not be dropped
};

class Qcow2Failures : public WithQemu, public testing::WithParamInterface<FailingCase> {};

// T4.1: each request of a write that allocates fails once; the write is repeated then. Returns
// false if the write made fewer requests.
bool fail_request(const FailingCase& now, int index, int error) {
  ImageRig rig(now.setup);
  EXPECT_EQ(rig.start(), 0);
  int left = index;
  rig.on_request(
      [&](const Request& request) { return request.op != Op::flush && left-- == 0 ? error : 0; });
  const int written = rig.write(1536, 1024, 7);
  const bool failed = left < 0;
  EXPECT_TRUE(written == 0 || written == error) << written;
  rig.disk->fails = nullptr;
  EXPECT_EQ(rig.write(1536, 1024, 8), 0);
  EXPECT_EQ(rig.write(kOf64K, kOf64K, 9), 0);
  EXPECT_EQ(rig.flush(), 0);
  EXPECT_TRUE(rig.has(1536, 1024, 8));
  EXPECT_TRUE(rig.has(512, 1024, now.setup.backing_bytes == 0 ? 0 : 1));
  EXPECT_TRUE(rig.has(kOf64K, kOf64K, 9));
  EXPECT_EQ(rig.stop(), 0);
  const std::string found = rig.check();
  EXPECT_TRUE(found.empty() || (now.may_leak && found.starts_with("3:"))) << found;
  return failed;
}

TEST_P(Qcow2Failures, AFailedWriteLeavesNothingAndCanBeRepeated) {
  for (const int error : {EIO, ENOSPC}) {
    for (int index = 0; index < 100; ++index) {
      SCOPED_TRACE(fmt::format("request {} fails with errno {}", index, error));
      if (!fail_request(GetParam(), index, error) || HasFailure()) break;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Qcow2Failures,
    testing::Values(
        FailingCase{.name = "NewTable", .setup = {.options = "8M"}},
        FailingCase{.name = "SmallClusters", .setup = {.options = "-o cluster_size=512 8M"}},
        FailingCase{.name = "Subclusters",
                    .setup = {.options = "-o cluster_size=16k,extended_l2=on 8M"}},
        FailingCase{.name = "Overlay", .setup = {.options = "8M", .backing_bytes = 8 << 20}},
        FailingCase{.name = "Snapshot",
                    .setup = {.options = "8M",
                              .commands = "qemu-io -f qcow2 -c 'write -z 0 128k' image.qcow2 &&"
                                          " qemu-img snapshot -c one image.qcow2"},
                    .may_leak = true}),
    [](const auto& info) { return info.param.name; });

// T4.1: the image cannot grow.
TEST_F(Qcow2WriteOrder, AFullDisk) {
  ImageRig rig({.options = "-o cluster_size=4k 8M"});
  rig.disk->most_bytes = rig.disk->geometry().size_bytes;
  ASSERT_EQ(rig.start(), 0);
  EXPECT_EQ(rig.write(0, 4096, 2), ENOSPC);
  EXPECT_TRUE(rig.has(0, 4096, 0));
  EXPECT_EQ(rig.flush(), 0);
  rig.disk->most_bytes = 64 << 20;
  EXPECT_EQ(rig.write(0, 4096, 3), 0);
  EXPECT_TRUE(rig.has(0, 4096, 3));
  EXPECT_EQ(rig.stop(), 0);
  EXPECT_EQ(rig.check(), "");
}

// T4.3: a discard, or zeroes, over a write in flight. Either comes first, as a whole.
TEST_F(Qcow2WriteOrder, ADiscardDuringAWrite) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    ImageRig rig({.options = "8M"});
    ASSERT_EQ(rig.start(), 0);
    if (seed % 2 == 0) ASSERT_EQ(rig.write(0, 2 * kOf64K, 2), 0);
    auto writing = rig.begin(Op::write, 512, kOf64K, 3);
    for (uint64_t steps = random() % 12; steps > 0 && rig.ring.pending() != 0; --steps) {
      rig.ring.perform(random() % rig.ring.pending());
    }
    const Op op = random() % 2 == 0 ? Op::discard : Op::write_zeroes;
    auto discarding = rig.begin(op, 0, 2 * kOf64K);
    auto flushing = rig.begin(Op::flush, 0, 0);
    rig.finish(random);
    for (const auto* const asked : {&writing, &discarding, &flushing}) {
      ASSERT_TRUE((*asked)->task->finished());
      EXPECT_EQ((*asked)->error(), 0);
    }
    EXPECT_TRUE(rig.has(512, kOf64K, 0) || rig.has(512, kOf64K, 3));
    EXPECT_EQ(rig.write(4 * kOf64K, kOf64K, 4), 0) << "perhaps where the first data was";
    EXPECT_TRUE(rig.has(512, kOf64K, 0) || rig.has(512, kOf64K, 3));
    EXPECT_EQ(rig.stop(), 0);
    EXPECT_EQ(rig.check(), "");
  }
}

}  // namespace
}  // namespace sluice::qcow2::test
