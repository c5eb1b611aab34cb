// A block device of the kernel's as what requests are served from: S14, S25, S57.
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <string>

#include "conformance/serves_with.hpp"
#include "conformance/splice_files.hpp"
#include "lend/dev_splice.hpp"
#include "lend/splice_direct.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint32_t kDeviceBytes = 1 << 20;

// A loop device on a file in memory, which goes when it is closed. Others may be faster at taking
// the free one.
Descriptor make_block_device() {
  const Descriptor file = make_file(kDeviceBytes, true);
  const Descriptor control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  for (int attempt = 0; control.valid() && attempt < 10; ++attempt) {
    const int number = ioctl(control.number(), LOOP_CTL_GET_FREE);
    Descriptor device(open(("/dev/loop" + std::to_string(number)).c_str(), O_RDWR | O_CLOEXEC));
    loop_config config{};
    config.fd = static_cast<uint32_t>(file.number());
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    if (device.valid() && ioctl(device.number(), LOOP_CONFIGURE, &config) == 0) return device;
  }
  return {};
}

class OnBlockDevice : public OnEachProvider {
 protected:
  void SetUp() override {
    OnEachProvider::SetUp();
    if (!IsSkipped() && !device_.valid()) GTEST_SKIP() << "no loop device here, or not root";
  }

  const Descriptor device_ = make_block_device();
};

TEST_P(OnBlockDevice, S57_TakesAWriteAndFillsARead) {
  auto& server = serve_with<ServesWith<lend::DevSplice>>(
      [&](auto& command, const Request& request, lend::Provider& device) {
        const lend::Consumer reads = lend::Read{.file = as_file(device_), .offset = 8192};
        const lend::Consumer writes = lend::Write{.file = as_file(device_), .offset = 8192};
        command.emplace(device, lend::Provider::position(request).pack(), kBytes,
                        request.op == Op::read ? reads : writes);
      });
  auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_TRUE(has_pattern(back, 8192));
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes);
  EXPECT_TRUE(has_pattern(contents(device_, kBytes, 8192)));
  EXPECT_TRUE(has_pattern(contents(device_, 8192)));
  EXPECT_EQ(copied_bytes(), 0U);
}

// A WRITE beyond its end is short, and then there is no room.
TEST_P(OnBlockDevice, S14_S19_TakesADirectSpliceUntilItsEnd) {
  lend::DirectPipe pipe;
  std::optional<lend::BufferProducer> from;
  auto& server = serve_with<ServesWith<lend::SpliceDirect>>(
      [&](auto& command, const Request& request, lend::Provider& device) {
        from.emplace(device, lend::Provider::position(request));
        command.emplace(pipe, *from, kBytes, looked_at(device_), kDeviceBytes - kBytes / 2);
      });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.result(), kBytes / 2);
  EXPECT_TRUE(has_pattern(contents(device_, kBytes / 2, kDeviceBytes - kBytes / 2)));
  EXPECT_TRUE(pipe.empty());
  EXPECT_EQ(server.references_left(), 2U);
}

TEST_P(OnBlockDevice, S25_E_IsNoPlainFileThatFillsAReadThroughThePipe) {
  lend::DirectPipe pipe;
  std::optional<lend::BufferProducer> into;
  auto& server = serve_with<ServesWith<lend::SpliceReadToRead>>(
      [&](auto& command, const Request& request, lend::Provider& device) {
        into.emplace(device, lend::Provider::position(request));
        command.emplace(pipe, *into, kBytes, looked_at(device_), 0);
      });
  memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_EQ(server.result(), -EINVAL);
  EXPECT_EQ(server.submissions(), 0U);
  EXPECT_EQ(server.filled_bytes(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Providers, OnBlockDevice, testing::ValuesIn(kinds_here()),
                         [](const auto& kind) { return to_string(kind.param); });

}  // namespace
}  // namespace sluice::test
