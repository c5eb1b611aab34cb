#include "frontend/direct/device.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <semaphore>
#include <thread>

#include "target/registry.hpp"

namespace sluice::direct {
namespace {

constexpr size_t kBytes = 64 * 1024;

class DirectDeviceTest : public testing::Test {
 protected:
  void open(const std::string& text, const Device::Options& options = {}) {
    auto stack = Stack::open(*parse_spec(text, target_vocabulary()), false);
    ASSERT_TRUE(stack) << stack.error().text;
    stack_ = std::move(*stack);
    auto device = Device::create(*stack_, options);
    ASSERT_TRUE(device) << device.error().text;
    device_ = std::move(*device);
  }

  std::unique_ptr<Stack> stack_;
  std::unique_ptr<Device> device_;
};

std::vector<std::byte> filled(uint8_t seed) {
  std::vector<std::byte> bytes(kBytes);
  for (size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<std::byte>(seed + i * 7);
  return bytes;
}

TEST_F(DirectDeviceTest, WhatIsWrittenIsReadBack) {
  open("mem(1M)");
  ASSERT_TRUE(device_->write(4096, filled(1)).ok());
  std::vector<std::byte> back(kBytes);
  ASSERT_TRUE(device_->read(4096, back).ok());
  EXPECT_EQ(back, filled(1));
  EXPECT_TRUE(device_->flush().ok());
  ASSERT_TRUE(device_->write_zeroes(4096, 4096).ok());
  ASSERT_TRUE(device_->discard(8192, 4096).ok());
  ASSERT_TRUE(device_->read(4096, back).ok());
  EXPECT_EQ(back[4095], std::byte{0});
  EXPECT_EQ(back.back(), filled(1).back());
}

TEST_F(DirectDeviceTest, WhatTheStackRefusesIsAnErrno) {
  open("mem(1M)");
  std::vector<std::byte> memory(kBytes);
  EXPECT_EQ(device_->read(1 << 20, memory).error(), EINVAL);
  EXPECT_EQ(device_->read(100, memory).error(), EINVAL);
  EXPECT_EQ(device_->write(0, std::span(memory).first(100)).error(), EINVAL);
}

TEST_F(DirectDeviceTest, ManyThreadsOnFewTags) {
  open("mem(8M)", {.queues = 2, .depth = 2});
  std::vector<std::thread> programs;
  for (uint8_t number = 0; number < 8; ++number) {
    programs.emplace_back([this, number] {
      const uint64_t offset = number * (uint64_t{1} << 20);
      for (uint8_t round = 0; round < 50; ++round) {
        const auto data = filled(static_cast<uint8_t>(number * 50 + round));
        ASSERT_TRUE(device_->write(offset, data).ok());
        std::vector<std::byte> back(kBytes);
        ASSERT_TRUE(device_->read(offset, back).ok());
        ASSERT_EQ(back, data);
      }
    });
  }
  for (std::thread& program : programs) program.join();
  uint64_t requests = 0;
  for (const QueueReport& report : device_->reports()) {
    requests += report.requests;
    EXPECT_EQ(report.arena_overflows, 0U);
    EXPECT_EQ(report.copied_bytes, 0U) << "mem copies, and that is not the front end's affair";
  }
  EXPECT_EQ(requests, 800U);
}

TEST_F(DirectDeviceTest, WithoutQueuesOrTagsThereIsNoDevice) {
  open("mem(1M)");
  for (const Device::Options& options :
       {Device::Options{.queues = 0}, Device::Options{.depth = 0}}) {
    const auto refused = Device::create(*stack_, options);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().error, EINVAL);
  }
}

TEST_F(DirectDeviceTest, WhatALoanCannotHoldIsRefused) {
  open("null(8G)");
  const size_t bytes = (size_t{4} << 30) + 4096;
  void* const place = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(place, MAP_FAILED);
  const std::span memory(static_cast<std::byte*>(place), bytes);
  EXPECT_EQ(device_->write(0, memory).error(), EINVAL);
  EXPECT_EQ(device_->read(0, memory).error(), EINVAL);
  EXPECT_TRUE(device_->write(0, memory.first(4096)).ok());
  munmap(place, bytes);
}

// An I/O that is submitted again from done(), on other memory.
class Twice final : public Io {
 public:
  Twice(Device& device, std::span<std::byte> first, std::span<std::byte> second)
      : device_(device), second_(second) {
    op = Op::write;
    memory = first;
  }
  Status wait() {
    ended_.acquire();
    return status_;
  }

 private:
  void done(Status status) noexcept override {
    if (status.ok() && memory.data() != second_.data()) {
      memory = second_;
      device_.submit(0, *this);
      return;
    }
    status_ = status;
    ended_.release();
  }

  Device& device_;
  const std::span<std::byte> second_;
  Status status_;
  std::binary_semaphore ended_{0};
};

TEST_F(DirectDeviceTest, AnIoMayComeAgainOnMemoryThatIsNotRegistered) {
  if (geteuid() != 0) GTEST_SKIP() << "not root: RLIMIT_MEMLOCK allows little registered memory";
  auto registered = filled(1);
  auto other = filled(2);
  open("mem(1M)", {.registered = registered});
  Twice io(*device_, registered, other);
  device_->submit(0, io);
  EXPECT_TRUE(io.wait().ok());
  std::vector<std::byte> back(kBytes);
  ASSERT_TRUE(device_->read(0, back).ok());
  EXPECT_EQ(back, other);
}

// Completes each request at once, and keeps a view of its pages.
class Keeps final : public Target {
 public:
  explicit Keeps(std::promise<View>& kept) : kept_(kept) { geometry_.size_bytes = 1 << 20; }

 private:
  Task do_submit(Request& request) override {
    kept_.set_value(request.data);
    return kOk;
  }
  std::promise<View>& kept_;
};

class Notes final : public Io {
 public:
  std::atomic<bool> ended = false;

 private:
  void done(Status) noexcept override { ended.store(true); }
};

TEST_F(DirectDeviceTest, AQueueThatIsNotThereIsAnErrno) {
  open("mem(1M)", {.queues = 2});
  auto memory = filled(1);
  Twice io(*device_, memory, memory);
  device_->submit(2, io);
  EXPECT_EQ(io.wait().error(), EINVAL);
}

#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)  // no RLIMIT_AS there
TEST_F(DirectDeviceTest, WithoutMemoryForItsTagsItIsNotCreated) {
  open("mem(1M)");
  const pid_t child = fork();
  if (child == 0) {
    uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const uint64_t bytes = pages * 4096 + (128 << 20);
    const rlimit little{bytes, bytes};
    setrlimit(RLIMIT_AS, &little);
    const auto device = Device::create(*stack_, {.queues = 1, .depth = UINT16_MAX});
    _exit(device ? 1 : device.error().error);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), ENOMEM);
}
#endif

TEST_F(DirectDeviceTest, EndsWhenThePagesOfAllIoAreBack) {
  std::promise<View> promised;
  stack_ = std::make_unique<Stack>(std::make_unique<Keeps>(promised));
  device_ = std::move(*Device::create(*stack_, {}));
  auto memory = filled(1);
  Notes io;
  io.op = Op::write;
  io.memory = memory;
  device_->submit(0, io);
  View kept = promised.get_future().get();
  std::atomic<bool> gone = false;
  std::thread ending([&] {
    device_.reset();
    gone.store(true);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_FALSE(gone.load());
  EXPECT_FALSE(io.ended.load());
  kept.drop();
  ending.join();
  EXPECT_TRUE(io.ended.load());
}

}  // namespace
}  // namespace sluice::direct
