// Target overlay: what is below it never changes, and what is written ends with it.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <random>

#include "frontend/direct/device.hpp"
#include "target/open_context.hpp"
#include "target/qcow2/overlay.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::qcow2::test {
namespace {

using sluice::test::Block;
using sluice::test::open_error;
using sluice::test::open_stack;
using sluice::test::TempDir;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kOverlayDisk = 4 << 20;

std::vector<std::byte> read_base(const std::string& path) {
  std::vector<std::byte> bytes(std::filesystem::file_size(path));
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(pread(file.number(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  return bytes;
}

// A stack that is served in this process.
struct ServedOverlay {
  explicit ServedOverlay(std::unique_ptr<Stack> opened) : stack(std::move(opened)) {
    if (auto started = stack->start(); !started) throw std::runtime_error(started.error().text);
    device = *direct::Device::create(*stack, {.queues = 1, .offload_threads = 1});
  }
  ~ServedOverlay() {
    device.reset();
    stack->stop();
  }

  std::vector<std::byte> contents() {
    const Block block(stack->geometry().size_bytes);
    EXPECT_TRUE(device->read(0, block.bytes()).ok());
    return {block.bytes().begin(), block.bytes().end()};
  }

  std::unique_ptr<Stack> stack;
  std::unique_ptr<direct::Device> device;
};

class OverlayTest : public testing::Test {
 protected:
  OverlayTest() {
    const char* const before = std::getenv("TMPDIR");
    if (before != nullptr) tmpdir_before_ = before;
    setenv("TMPDIR", temporary_.path().c_str(), 1);
    std::mt19937_64 random(3);
    oracle_.resize(kOverlayDisk);
    for (std::byte& each : oracle_) each = static_cast<std::byte>(random());
    const Descriptor file(open(base_.c_str(), O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(pwrite(file.number(), oracle_.data(), oracle_.size(), 0),
              static_cast<ssize_t>(oracle_.size()));
  }
  ~OverlayTest() override {
    if (tmpdir_before_.empty()) {
      unsetenv("TMPDIR");
    } else {
      setenv("TMPDIR", tmpdir_before_.c_str(), 1);
    }
  }

  std::string spec(std::string_view more = "") const {
    return fmt::format("overlay(loop(file={}{}))", base_, more);
  }
  std::unique_ptr<Stack> opened(const std::string& text, bool read_only = false) const {
    auto stack = open_stack(text, read_only);
    if (!stack) throw std::runtime_error(stack.error().text);
    return std::move(*stack);
  }

  // Random requests of whole units, and the same to the oracle.
  void change(direct::Device& device, uint64_t unit, uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 60; ++i) {
      const uint64_t units = 1 + random() % (200'000 / unit);
      const uint64_t offset = random() % (oracle_.size() / unit - units) * unit;
      const auto known = std::span(oracle_).subspan(offset, units * unit);
      const Block block(known.size(), static_cast<int>(random() % 256));
      const bool zeroes = random() % 4 == 0;
      std::ranges::fill(known, zeroes ? std::byte{0} : block.bytes().front());
      const Status done = zeroes ? device.write_zeroes(offset, known.size())
                                 : device.write(offset, block.bytes(), random() % 8 == 0);
      ASSERT_TRUE(done.ok()) << done.error();
    }
  }

  const TempDir directory_;
  const TempDir temporary_;
  const std::string base_ = directory_.file("base.raw", kOverlayDisk);
  std::vector<std::byte> oracle_;

 private:
  std::string tmpdir_before_;
};

TEST_F(OverlayTest, WritesStayInItAndNothingIsLeft) {
  const std::vector<std::byte> before = oracle_;
  {
    ServedOverlay served(opened(spec()));
    change(*served.device, 512, 1);
    EXPECT_TRUE(served.device->flush().ok());
    EXPECT_EQ(served.contents(), oracle_);
    EXPECT_TRUE(std::filesystem::is_empty(temporary_.path())) << "it has a name";
  }
  EXPECT_TRUE(std::filesystem::is_empty(temporary_.path()));
  EXPECT_EQ(read_base(base_), before);
  EXPECT_EQ(ServedOverlay(opened(spec())).contents(), before) << "each has its own writes";
}

TEST_F(OverlayTest, OthersMayReadWhatIsBelow) {
  const auto first = opened(spec());
  const auto second = opened(spec());
  EXPECT_EQ(open_error("file:" + base_, /*read_only=*/true), "");
  EXPECT_THAT(open_error("file:" + base_), HasSubstr("nobody else write"));
}

TEST_F(OverlayTest, HasTheBlocksOfWhatIsBelow) {
  EXPECT_EQ(opened(spec())->geometry().logical_block_bytes, 512U);
  ServedOverlay served(opened(spec(", block=4096")));
  EXPECT_EQ(served.stack->geometry().logical_block_bytes, 4096U);
  change(*served.device, 4096, 2);
  EXPECT_EQ(served.contents(), oracle_);
}

TEST_F(OverlayTest, StandsAboveAnyStack) {
  ServedOverlay served(
      opened(fmt::format("overlay(linear({0}, overlay(mem:1M), size=4608k))", base_)));
  oracle_.resize(kOverlayDisk + (512 << 10));
  change(*served.device, 512, 4);
  EXPECT_EQ(served.contents(), oracle_);
}

TEST_F(OverlayTest, GrowsBeyondWhatIsBelow) {
  ServedOverlay served(opened(spec()));
  change(*served.device, 512, 5);
  ASSERT_TRUE(served.stack->resize(2 * kOverlayDisk + 512));
  oracle_.resize(2 * kOverlayDisk + 512);
  EXPECT_EQ(served.contents(), oracle_);
  EXPECT_EQ(std::filesystem::file_size(base_), kOverlayDisk);
}

TEST_F(OverlayTest, IsReadOnlyIfTheDeviceIs) {
  ServedOverlay served(opened(spec(), /*read_only=*/true));
  const Block block(512, 1);
  EXPECT_EQ(served.device->write(0, block.bytes()).error(), EROFS);
  EXPECT_EQ(served.contents(), oracle_);
}

TEST_F(OverlayTest, IsHandedOverWithWhatWasWritten) {
  std::vector<Descriptor> files;
  {
    ServedOverlay served(opened(spec()));
    change(*served.device, 512, 6);
    ASSERT_TRUE(served.stack->check_handover());
    for (const int file : served.stack->files()) {
      files.emplace_back(fcntl(file, F_DUPFD_CLOEXEC, 0));
    }
  }
  ASSERT_EQ(files.size(), 2U);
  setenv("TMPDIR", "/proc/none", 1);  // another file would be made there
  OpenContext next(/*read_only=*/false, {.files = std::move(files)});
  auto stack = Stack::open(*parse_spec(spec(), target_vocabulary()), next);
  ASSERT_TRUE(stack) << stack.error().text;
  ServedOverlay served(std::move(*stack));
  EXPECT_EQ(served.contents(), oracle_);
  change(*served.device, 512, 7);
  EXPECT_EQ(served.contents(), oracle_);
}

TEST_F(OverlayTest, IsNotHandedOverWithoutItsFile) {
  const auto stack = opened(spec());
  std::vector<Descriptor> files;
  files.emplace_back(fcntl(stack->files().front(), F_DUPFD_CLOEXEC, 0));
  OpenContext next(/*read_only=*/false, {.files = std::move(files)});
  const auto refused = Stack::open(*parse_spec(spec(), target_vocabulary()), next);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text, "'the temporary image' was not handed over");
}

TEST_F(OverlayTest, CannotBeRecovered) {
  const auto stack = opened(spec());
  const auto refused = stack->check_recovery();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error, EOPNOTSUPP);
  EXPECT_EQ(refused.error().text,
            fmt::format("the temporary image in {} ended with its server, and so did all that was"
                        " written to it",
                        temporary_.path()));
}

TEST_F(OverlayTest, ItsTargetsHaveTheirPaths) {
  const auto stack = opened("overlay(linear(" + base_ + ", mem:1M))");
  std::vector<std::string> found;
  for (const StackNode& node : stack->nodes()) found.push_back(node.path + " " + node.name);
  EXPECT_THAT(found, ElementsAre("/ overlay", "/0 linear", "/0/0 loop(base.raw)", "/0/1 mem"));
  const auto files = *stack->fingerprints();
  ASSERT_EQ(files.size(), 1U) << "the temporary file is not found again";
  EXPECT_EQ(files[0].target, "/0/0");
}

TEST_F(OverlayTest, NeedsADirectoryForItsFile) {
  setenv("TMPDIR", "/proc/none", 1);
  EXPECT_EQ(open_error(spec()),
            "cannot make a temporary file in '/proc/none': No such file or directory: set TMPDIR to"
            " another directory");
  setenv("TMPDIR", "relative", 1);
  EXPECT_EQ(open_error(spec()), "") << "it is in /var/tmp";
}

TEST(OverlaySpec, IsAboveEachDisk) {
  const auto spec = [](std::string_view text) { return *parse_spec(text, target_vocabulary()); };
  EXPECT_EQ(overlay_spec(spec("linear(/a, /b)")), spec("overlay(linear(/a, /b))"));
  EXPECT_EQ(overlay_spec(spec("exports(/a, mem:1M, names=x+y)")),
            spec("exports(overlay(/a), overlay(mem:1M), names=x+y)"));
}

}  // namespace
}  // namespace sluice::qcow2::test
