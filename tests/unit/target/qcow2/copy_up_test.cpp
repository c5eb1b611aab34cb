// Everything that comes from the backing file is brought into the image, which then does without:
// with failures at each request below, and with power cuts at each write and flush.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <tuple>

#include "target/life/life_call.hpp"
#include "unit/target/qcow2/image_rig.hpp"

namespace sluice::qcow2::test {
namespace {

constexpr uint64_t kCopiedDisk = 1 << 20;
constexpr uint64_t kCopiedBacking = 700 << 10;

class CopyUp : public WithQemu, public testing::WithParamInterface<const char*> {};

struct CopyingUp {
  Task run(Request& request) {
    const uint64_t size = target.geometry().size_bytes;
    for (uint64_t offset = 0; offset < size;) {
      uint64_t copied = 0;
      Task copying = target.copy_up(request, offset, offset, copied);
      if (const Status status = co_await copying; !status.ok()) co_return status;
    }
    Task leaving = target.leave_backing(request, left);
    co_return co_await leaving;
  }

  Qcow2Target& target;
  std::unique_ptr<Target> left = nullptr;
};

struct StreamRig {
  explicit StreamRig(const std::string& options)
      : rig({.options = options + " 1M", .backing_bytes = kCopiedBacking}) {
    EXPECT_EQ(rig.start(), 0);
    EXPECT_EQ(rig.write(130 << 10, 70 << 10, 2), 0);
    EXPECT_EQ(rig.write_zeroes(400 << 10, 64 << 10), 0);
    EXPECT_EQ(rig.flush(), 0);
  }

  int stream_all() {
    CopyingUp all{.target = *rig.target};
    LifeRequest life(rig.ring);
    Task streaming = all.run(life.request);
    rig.ring.perform_all();
    left = std::move(all.left);
    return streaming.status().error();
  }

  // What it should have, read by us.
  testing::AssertionResult is_right() {
    for (const auto& [offset, end, number] : kParts) {
      if (auto has = rig.has(offset << 10, (end - offset) << 10, number); !has) return has;
    }
    return testing::AssertionSuccess();
  }

  // The same, of the contents of the disk below, read by QEMU.
  testing::AssertionResult is_right_for_qemu(const std::vector<std::byte>& image) {
    rig.folder.write("cut.qcow2", image);
    const int status = rig.folder.run(
        "qemu-img check -q cut.qcow2 || [ $? = 3 ] && "
        "qemu-img convert -f qcow2 -O raw cut.qcow2 cut.raw");
    if (status != 0) return testing::AssertionFailure() << rig.folder.output();
    const auto bytes = rig.folder.read("cut.raw");
    if (bytes.size() != kCopiedDisk) return testing::AssertionFailure() << bytes.size() << " bytes";
    for (const auto& [offset, end, number] : kParts) {
      std::vector<std::byte> expected((end - offset) << 10);
      BlockOracle::fill(number, offset << 10, expected);
      const auto found = std::span(bytes).subspan(offset << 10, expected.size());
      if (!std::ranges::equal(found, expected)) {
        return testing::AssertionFailure() << "another part at " << offset << "k";
      }
    }
    return testing::AssertionSuccess();
  }

  struct Range {
    uint64_t begin_kib;
    uint64_t end_kib;
    uint64_t number;
  };
  static constexpr Range kParts[] = {{0, 130, 1},   {130, 200, 2}, {200, 400, 1},
                                     {400, 464, 0}, {464, 700, 1}, {700, 1024, 0}};

  ImageRig rig;
  std::unique_ptr<Target> left;
};

TEST_P(CopyUp, IsComplete) {
  StreamRig stream(GetParam());
  EXPECT_EQ(stream.stream_all(), 0);
  ASSERT_NE(stream.left, nullptr);
  EXPECT_TRUE(stream.is_right());
  EXPECT_EQ(stream.rig.stop(), 0);
  EXPECT_EQ(stream.rig.check(), "");
  EXPECT_EQ(stream.rig.folder.run("rm base.raw; ! qemu-img info checked.qcow2 | grep backing"), 0)
      << stream.rig.folder.output();
}

TEST_P(CopyUp, ThatFailsAtAnyRequestLosesNothing) {
  for (int failing = 0;; ++failing) {
    ASSERT_LT(failing, 1000);
    StreamRig stream(GetParam());
    int seen = 0;
    Op failed = Op::read;
    stream.rig.on_request([&](const Request& request) {
      if (seen++ != failing) return 0;
      failed = request.op;
      return EIO;
    });
    const int error = stream.stream_all();
    stream.rig.on_request({});
    // What was written before a failed flush is lost, also to readers, until the image is opened
    // again.
    if (failed != Op::flush) EXPECT_TRUE(stream.is_right()) << "request " << failing;
    const bool was_last = seen <= failing;
    if (was_last) EXPECT_EQ(error, 0);
    std::ignore = stream.rig.stop();
    std::mt19937_64 random(1);
    EXPECT_TRUE(
        stream.is_right_for_qemu(stream.rig.disk->after_cut(VolatileDisk::Left::newest, random)))
        << "request " << failing;
    if (was_last || testing::Test::HasFailure()) break;
  }
}

TEST_P(CopyUp, SurvivesAPowerCutAtAnyTime) {
  StreamRig stream(GetParam());
  std::mt19937_64 random(1);
  std::vector<std::vector<std::byte>> cuts;
  stream.rig.power.on_event = [&] {
    for (const auto left : {VolatileDisk::Left::durable, VolatileDisk::Left::any}) {
      cuts.push_back(stream.rig.disk->after_cut(left, random));
    }
  };
  EXPECT_EQ(stream.stream_all(), 0);
  stream.rig.power.on_event = {};
  ASSERT_GT(cuts.size(), 10U);
  for (size_t i = 0; i < cuts.size() && !testing::Test::HasFailure(); ++i) {
    EXPECT_TRUE(stream.is_right_for_qemu(cuts[i])) << "cut " << i;
  }
  EXPECT_EQ(stream.rig.stop(), 0);
}

TEST_P(CopyUp, LeavesTheBackingFileToSnapshots) {
  ImageRig rig({.options = std::string(GetParam()) + " 1M",
                .commands = "qemu-img snapshot -c first image.qcow2",
                .backing_bytes = kCopiedBacking});
  ASSERT_EQ(rig.start(), 0);
  CopyingUp all{.target = *rig.target};
  LifeRequest life(rig.ring);
  Task streaming = all.run(life.request);
  rig.ring.perform_all();
  EXPECT_EQ(streaming.status().error(), EBUSY);
  EXPECT_EQ(all.left, nullptr);
  EXPECT_EQ(rig.stop(), 0);
}

INSTANTIATE_TEST_SUITE_P(Images, CopyUp,
                         testing::Values("-o cluster_size=64k", "-o cluster_size=4k",
                                         "-o extended_l2=on", "-o compat=0.10"));

}  // namespace
}  // namespace sluice::qcow2::test
