// If the ring's buffer table has no free slot for a request's pages, the driver sets a flag on the
// request, and the queue registers the pages itself (P-17).
//
// The test fills the table of the queue's ring, so that automatic registration fails. As soon as
// the request is delivered the test clears the table, before the queue's command to register the
// pages is submitted.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <future>
#include <set>
#include <thread>
#include <vector>

#include "frontend/ublk/control.hpp"
#include "frontend/ublk/parameters.hpp"
#include "frontend/ublk/queue.hpp"
#include "ring/kernel_ring.hpp"
#include "support/client.hpp"
#include "support/owning.hpp"
#include "target/target.hpp"

namespace sluice::test {
namespace {

namespace abi = ublk::abi;

constexpr uint16_t kDepth = 4;
constexpr uint32_t kMaxIoBytes = 256 * 1024;
constexpr uint64_t kSizeBytes = 8 << 20;
constexpr size_t kDescriptorBytes = 4096;
constexpr File kBacking{.number = 0, .registered = true};

class Plain final : public Target {
 public:
  Plain() { geometry_.size_bytes = kSizeBytes; }

 private:
  Task do_submit(Request& request) override {
    if (!request.has_data()) co_return Status::from_errno(EOPNOTSUPP);
    auto moving = request.op == Op::read
                      ? request.ring->read(kBacking, request.offset, request.data)
                      : request.ring->write(kBacking, request.offset, request.data);
    co_return co_await moving;
  }
};

// The io_uring files of this process.
std::set<int> ring_files() {
  std::set<int> files;
  DIR* const directory = opendir("/proc/self/fd");
  while (const dirent* const entry = readdir(directory)) {
    std::array<char, 64> link{};
    const std::string path = std::string("/proc/self/fd/") + entry->d_name;
    if (readlink(path.c_str(), link.data(), link.size() - 1) <= 0) continue;
    if (std::string_view(link.data()).contains("io_uring")) files.insert(std::stoi(entry->d_name));
  }
  closedir(directory);
  return files;
}

// The thread that serves the device. After fill_table() the table is full until a new request
// arrives.
class Server final : private QueueListener, private Message {
 public:
  Server(int char_fd, int backing_fd, Stack& stack)
      : char_fd_(char_fd), backing_fd_(backing_fd), stack_(stack) {
    auto ready = ready_.get_future();
    thread_ = std::thread([this] { serve(); });
    ready.wait();
  }
  ~Server() { thread_.join(); }

  // Makes the automatic registration of the next request fail; with `stubborn` also the queue's
  // command to register its pages.
  void fill_table(bool stubborn) {
    std::promise<void> filled;
    filled_ = &filled;
    stubborn_ = stubborn;
    ring_->post(*this);
    filled.get_future().wait();
  }
  int fallbacks() const { return fallbacks_.load(); }

 private:
  void serve() {
    const std::set<int> others = ring_files();
    const std::array<int, 2> files = {backing_fd_, char_fd_};
    auto ring =
        KernelRing::create({.entries = 64, .cq_entries = 256, .slots = kDepth, .files = files});
    ASSERT_TRUE(ring) << ring.error().text;
    ring_ = std::move(*ring);
    const std::set<int> all = ring_files();
    std::ranges::set_difference(all, others, &ring_fd_);
    descriptors_ = static_cast<const abi::IoDescriptor*>(
        mmap(nullptr, kDescriptorBytes, PROT_READ, MAP_SHARED | MAP_POPULATE, char_fd_, 0));
    auto queue = ublk::Queue::create({.id = 0,
                                      .depth = kDepth,
                                      .max_io_bytes = kMaxIoBytes,
                                      .mode = ublk::BufferMode::auto_register,
                                      .user_copy = true,
                                      .char_device = {.number = 1, .registered = true}},
                                     *ring_, stack_, *this);
    ASSERT_TRUE(queue) << queue.error().text;
    (*queue)->start_on(descriptors_, char_fd_);
    ring_->run_once(false);
    ready_.set_value();
    while (!finished_) {
      ring_->run_once(true);
      if (full_ && delivered_without_pages()) give_way();
    }
    queue->reset();
    munmap(const_cast<abi::IoDescriptor*>(descriptors_), kDescriptorBytes);
  }

  void finished() override { finished_ = true; }

  void run() override {
    update_table(&memory_);
    full_ = true;
    std::copy_n(descriptors_, kDepth, before_.begin());
    filled_->set_value();
  }

  // Called before the next round of the ring, which submits the queue's command.
  void give_way() {
    ++fallbacks_;
    if (stubborn_) {
      stubborn_ = false;
      return;
    }
    update_table(nullptr);
    full_ = false;
  }

  // Compares with the descriptors at the time of fill_table(): a descriptor changes only with the
  // next request of its tag.
  bool delivered_without_pages() const {
    for (size_t i = 0; i < kDepth; ++i) {
      const bool is_new = std::memcmp(&descriptors_[i], &before_[i], sizeof(before_[i])) != 0;
      if (is_new && (descriptors_[i].op_flags & abi::kIoNeedRegBuf) != 0) return true;
    }
    return false;
  }

  // Puts our own memory into every slot, or empties them.
  void update_table(std::array<std::byte, 4096>* memory) {
    std::array<iovec, kDepth> buffers{};
    if (memory != nullptr) buffers.fill({memory->data(), memory->size()});
    std::array<uint64_t, kDepth> tags{};
    io_uring_rsrc_update2 update{};
    update.data = reinterpret_cast<uint64_t>(buffers.data());
    update.tags = reinterpret_cast<uint64_t>(tags.data());
    update.nr = kDepth;
    const long updated = syscall(__NR_io_uring_register, ring_fd_, IORING_REGISTER_BUFFERS_UPDATE,
                                 &update, sizeof(update));
    EXPECT_EQ(updated, kDepth);
  }

  const int char_fd_;
  const int backing_fd_;
  Stack& stack_;
  alignas(4096) std::array<std::byte, 4096> memory_{};
  std::unique_ptr<KernelRing> ring_;
  int ring_fd_ = -1;
  const abi::IoDescriptor* descriptors_ = nullptr;
  std::array<abi::IoDescriptor, kDepth> before_{};  // when the table was filled
  bool finished_ = false;
  bool full_ = false;
  bool stubborn_ = false;
  std::atomic<int> fallbacks_ = 0;
  std::promise<void>* filled_ = nullptr;
  std::promise<void> ready_;
  std::thread thread_;
};

class FallbackTest : public testing::Test {
 protected:
  void SetUp() override {
    auto control = ublk::Control::open();
    ASSERT_TRUE(control) << control.error().text;
    control_ = std::move(*control);
    info_.dev_id = ublk::kAnyId;
    info_.queues = 1;
    info_.depth = kDepth;
    info_.max_io_buf_bytes = kMaxIoBytes;
    info_.flags = abi::kCmdIoctlEncode | abi::kUringCmdCompInTask | abi::kSupportZeroCopy |
                  abi::kAutoBufReg | abi::kUserCopy;
    ASSERT_TRUE(control_->add(info_));
    const auto parameters = ublk::make_parameters(stack_.geometry(), kMaxIoBytes, true);
    ASSERT_TRUE(parameters);
    ASSERT_TRUE(control_->set_parameters(info_.dev_id, *parameters));
    char_fd_ = open(ublk::char_device_path(info_.dev_id).c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(char_fd_, 0);
    server_ = std::make_unique<Server>(char_fd_, backing_fd_, stack_);
    ASSERT_TRUE(control_->start(info_.dev_id, getpid()));
    path_ = ublk::block_device_path(info_.dev_id);
    ASSERT_EQ(client_.read(path_, kSizeBytes / 2, 4096), 0);  // the first open reads partitions
  }

  void TearDown() override {
    if (!control_ || info_.dev_id == ublk::kAnyId) return;
    EXPECT_TRUE(control_->stop(info_.dev_id));
    server_.reset();
    close(char_fd_);
    EXPECT_TRUE(control_->remove(info_.dev_id, true));
  }

  static int make_backing() {
    const int file = memfd_create("fallback", MFD_CLOEXEC);
    EXPECT_EQ(ftruncate(file, kSizeBytes), 0);
    return file;
  }

  const Client client_;
  const int backing_fd_ = make_backing();
  Stack stack_{owning(std::make_unique<Plain>(), backing_fd_)};
  std::unique_ptr<ublk::Control> control_;
  abi::DeviceInfo info_{};
  int char_fd_ = -1;
  std::unique_ptr<Server> server_;
  std::string path_;
};

TEST_F(FallbackTest, TheQueueRegistersByHand) {
  for (int round = 0; round < 8; ++round) {
    SCOPED_TRACE(round);
    const uint64_t offset = static_cast<uint64_t>(round) * kMaxIoBytes;
    const size_t length = round % 2 == 0 ? 4096 : kMaxIoBytes;
    const auto memory = client_.memory(length);
    const std::byte filler{static_cast<uint8_t>(round + 1)};

    std::ranges::fill(memory, filler);
    server_->fill_table(false);
    ASSERT_EQ(client_.write(path_, offset, length), 0);
    EXPECT_EQ(server_->fallbacks(), 2 * round + 1);

    std::ranges::fill(memory, std::byte{0xee});
    server_->fill_table(false);
    ASSERT_EQ(client_.read(path_, offset, length), 0);
    EXPECT_EQ(server_->fallbacks(), 2 * round + 2);
    EXPECT_EQ(std::ranges::count(memory, filler), static_cast<ptrdiff_t>(length));
  }
}

TEST_F(FallbackTest, AutomaticRegistrationGoesOnAfterwards) {
  server_->fill_table(false);
  ASSERT_EQ(client_.write(path_, 0, 4096), 0);
  const int before = server_->fallbacks();
  for (int round = 0; round < 2 * kDepth; ++round) {
    ASSERT_EQ(client_.write(path_, 0, 4096), 0);
    ASSERT_EQ(client_.read(path_, 0, 4096), 0);
  }
  EXPECT_EQ(server_->fallbacks(), before);
}

TEST_F(FallbackTest, WhenNeitherWorksTheBytesAreCopied) {
  const auto memory = client_.memory(8192);
  std::ranges::fill(memory, std::byte{0x5a});
  server_->fill_table(true);
  EXPECT_EQ(client_.write(path_, 0, 8192), 0);
  std::ranges::fill(memory, std::byte{0});
  server_->fill_table(true);
  EXPECT_EQ(client_.read(path_, 0, 8192), 0);
  EXPECT_EQ(std::ranges::count(memory, std::byte{0x5a}), 8192);
  EXPECT_EQ(client_.write(path_, 4096, 4096), 0);
  EXPECT_EQ(client_.read(path_, 8192, 4096), 0);
}

}  // namespace
}  // namespace sluice::test
