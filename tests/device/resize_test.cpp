// A device grows while it is being written to: first the stack, then the kernel's size.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "core/descriptor.hpp"
#include "device/load.hpp"
#include "frontend/session.hpp"
#include "frontend/ublk/device.hpp"
#include "support/client.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;

uint64_t size_of(const std::string& path) {
  const Descriptor device(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  uint64_t bytes = 0;
  EXPECT_EQ(ioctl(device.number(), BLKGETSIZE64, &bytes), 0);
  return bytes;
}

class ResizeDeviceTest : public testing::TestWithParam<const char*> {
 protected:
  const Client client_;
  TempDir dir_;
  Load load_{dir_.path("fio.log")};
};

TEST_P(ResizeDeviceTest, GrowsUnderLoad) {
  const std::string one = dir_.file("one", 32 * kMiB);
  const std::string two = dir_.file("two", 32 * kMiB);
  const std::string spec =
      fmt::format(fmt::runtime(GetParam()), fmt::arg("one", one), fmt::arg("two", two));
  auto stack = open_stack(spec).value();
  auto device = ublk::UblkDevice::add(*stack, {}).value();
  const auto session = Session<ublk::UblkDevice>::start(std::move(device)).value();
  ublk::UblkDevice& served = session->frontend();
  const uint64_t before = stack->geometry().size_bytes;
  load_.start(served.path(), before);
  for (uint64_t size = before + 8 * kMiB; size <= 2 * before; size += 8 * kMiB) {
    const auto grown = stack->resize(size);
    ASSERT_TRUE(grown) << grown.error().text;
    ASSERT_TRUE(served.resize(*grown));
    ASSERT_EQ(size_of(served.path()), size);
    const auto memory = client_.memory(4096);
    std::ranges::fill(memory, std::byte{7});
    ASSERT_EQ(client_.write(served.path(), size - 4096, 4096), 0);
    std::ranges::fill(memory, std::byte{0});
    ASSERT_EQ(client_.read(served.path(), size - 4096, 4096), 0);
    EXPECT_EQ(std::ranges::count(memory, std::byte{7}), 4096);
  }
  EXPECT_EQ(load_.finish(), "");
  EXPECT_TRUE(session->end());
}

INSTANTIATE_TEST_SUITE_P(Stacks, ResizeDeviceTest,
                         testing::Values("file:{one}", "linear({one}, {two})",
                                         "stripe({one}, {two}, chunk=64k)"));

}  // namespace
}  // namespace sluice::test
