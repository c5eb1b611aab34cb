// A target that copies some bytes of a request itself and lets the kernel move the others between
// the lent pages and a file: on devices that lend pages (where the driver must also accept
// USER_COPY, P-14) and on devices that copy. And the accesses to a loan that the driver refuses
// (P-5, P-6). timeout: 60
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <vector>

#include "frontend/session.hpp"
#include "frontend/ublk/abi.hpp"
#include "frontend/ublk/device.hpp"
#include "ring/raw_operation.hpp"
#include "ring/ring.hpp"
#include "support/client.hpp"
#include "support/owning.hpp"
#include "target/target.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kSizeBytes = 16 << 20;
constexpr uint32_t kPart = 512;
constexpr size_t kLengths[] = {512, 1024, 1536, 4096, 12288, 65536, 524288};
constexpr File kBacking{.number = 0, .registered = true};  // the stack's only file

using Part = std::array<std::byte, kPart>;

std::byte pattern(uint64_t position) {
  return static_cast<std::byte>((position * 2654435761U) >> 13);
}

int make_backing() {
  const int file = memfd_create("mixed", MFD_CLOEXEC);
  EXPECT_EQ(ftruncate(file, kSizeBytes), 0);
  return file;
}

// Keeps the first part of a request in memory and the middle in the file; the last part reads as
// zeroes.
class Mixed final : public Target {
 public:
  Mixed() { geometry_.size_bytes = kSizeBytes; }

 private:
  Task do_submit(Request& request) override {
    if (request.op == Op::read) return read(request);
    if (request.op == Op::write) return write(request);
    return Status::from_errno(EOPNOTSUPP);
  }

  Task read(Request& request) {
    const auto length = static_cast<uint32_t>(request.length);
    Part first = find(request.offset);
    auto copying = request.ring->copy_in(request.data.slice(0, kPart, *request.arena), first);
    const Status copied = co_await copying;
    if (!copied.ok() || length == kPart) co_return copied;
    auto zeroing = request.ring->zero(request.data.slice(length - kPart, kPart, *request.arena));
    const Status zeroed = co_await zeroing;
    if (!zeroed.ok() || length == 2 * kPart) co_return zeroed;
    auto reading =
        request.ring->read(kBacking, request.offset + kPart,
                           request.data.slice(kPart, length - 2 * kPart, *request.arena));
    co_return co_await reading;
  }

  Task write(Request& request) {
    const auto length = static_cast<uint32_t>(request.length);
    Part first;
    auto copying = request.ring->copy_out(request.data.slice(0, kPart, *request.arena), first);
    const Status copied = co_await copying;
    if (!copied.ok()) co_return copied;
    keep(request.offset, first);
    if (length <= 2 * kPart) co_return kOk;
    auto writing =
        request.ring->write(kBacking, request.offset + kPart,
                            request.data.slice(kPart, length - 2 * kPart, *request.arena));
    co_return co_await writing;
  }

  Part find(uint64_t offset) {
    const std::scoped_lock guard(mutex_);
    return first_parts_[offset];
  }
  void keep(uint64_t offset, const Part& part) {
    const std::scoped_lock guard(mutex_);
    first_parts_[offset] = part;
  }

  std::mutex mutex_;
  std::map<uint64_t, Part> first_parts_;
};

// Tries forbidden operations on each request, bypassing the checks of Ring, and then fails it.
class Offender final : public Target {
 public:
  Offender() { geometry_.size_bytes = kSizeBytes; }

  struct Results {
    std::vector<int> wrong_direction, beyond_end, other_tag, fixed_direction, fixed_beyond_end;
  };
  Results take_results() {
    const std::scoped_lock guard(mutex_);
    return std::exchange(results_, {});
  }

 private:
  Task do_submit(Request& request) override {
    if (!request.has_data()) co_return Status::from_errno(EOPNOTSUPP);
    const Loan& loan = *request.data.loan();
    const bool is_read = request.op == Op::read;
    const uint64_t position = loan.copy_position();
    const int wrong_copy = is_read ? IORING_OP_READ : IORING_OP_WRITE;
    const int right_copy = is_read ? IORING_OP_WRITE : IORING_OP_READ;
    // READ_FIXED fills the pages of a read from a file; WRITE_FIXED writes those of a write.
    const int wrong_fixed = is_read ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
    const int right_fixed = is_read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;

    Results found;
    auto first = copy(request, wrong_copy, position);
    found.wrong_direction.push_back(co_await first);
    auto second = copy(request, right_copy, position + request.length + kPart);
    found.beyond_end.push_back(co_await second);
    auto third = copy(request, right_copy, position ^ (1ULL << ublk::abi::kIoBufferBits));
    found.other_tag.push_back(co_await third);
    auto fourth = fixed(request, wrong_fixed, kPart);
    found.fixed_direction.push_back(co_await fourth);
    auto fifth = fixed(request, right_fixed, static_cast<uint32_t>(request.length) + kPart);
    found.fixed_beyond_end.push_back(co_await fifth);
    const std::scoped_lock guard(mutex_);
    results_ = found;
    co_return Status::from_errno(EIO);
  }

  RawOperation copy(Request& request, int op, uint64_t position) {
    io_uring_sqe sqe{};
    sqe.opcode = static_cast<uint8_t>(op);
    sqe.fd = request.data.loan()->copy_file().number;
    sqe.flags = IOSQE_FIXED_FILE;
    sqe.off = position;
    sqe.addr = reinterpret_cast<uint64_t>(memory_.data());
    sqe.len = kPart;
    return {*request.ring, sqe};
  }

  static RawOperation fixed(Request& request, int op, uint32_t length) {
    io_uring_sqe sqe{};
    sqe.opcode = static_cast<uint8_t>(op);
    sqe.fd = kBacking.number;
    sqe.flags = IOSQE_FIXED_FILE;
    sqe.len = length;
    sqe.buf_index = static_cast<uint16_t>(request.data.loan()->slot());
    return {*request.ring, sqe};
  }

  Part memory_{};
  std::mutex mutex_;
  Results results_;
};

// A device with a target of the test.
class Served {
 public:
  Served(std::unique_ptr<Target> target, ublk::BufferMode mode)
      : stack_(owning(std::move(target), make_backing())) {
    ublk::DeviceOptions options;
    options.depth = 8;
    options.mode_options.named = mode;
    auto device = ublk::UblkDevice::add(stack_, options);
    if (!device) {
      error_ = device.error().text;
      return;
    }
    auto session = Session<ublk::UblkDevice>::start(std::move(*device));
    if (session) {
      session_ = std::move(*session);
    } else {
      error_ = session.error().text;
    }
  }
  ~Served() {
    if (session_) EXPECT_TRUE(session_->end());
  }

  const std::string& error() const { return error_; }
  const ublk::UblkDevice& device() const { return session_->frontend(); }
  std::string path() const { return session_->frontend().path(); }

 private:
  Stack stack_;
  std::unique_ptr<Session<ublk::UblkDevice>> session_;
  std::string error_;
};

class MixedCopyTest : public testing::TestWithParam<ublk::BufferMode> {};
class LendingTest : public MixedCopyTest {};

std::string name_of(const testing::TestParamInfo<ublk::BufferMode>& mode) {
  return std::string(to_string(mode.param));
}

TEST_P(MixedCopyTest, EveryByteArrives) {
  const Client client;
  Served served(std::make_unique<Mixed>(), GetParam());
  ASSERT_EQ(served.error(), "");
  uint64_t offset = 0;
  for (const size_t length : kLengths) {
    SCOPED_TRACE(length);
    offset += 1 << 20;
    const auto memory = client.memory(length);
    for (size_t i = 0; i < length; ++i) memory[i] = pattern(offset + i);
    ASSERT_EQ(client.write(served.path(), offset, length), 0);
    std::ranges::fill(memory, std::byte{0xee});
    ASSERT_EQ(client.read(served.path(), offset, length), 0);
    size_t wrong = 0;
    for (size_t i = 0; i < length; ++i) {
      const bool zeroed = length > kPart && i >= length - kPart;
      if (memory[i] != (zeroed ? std::byte{0} : pattern(offset + i))) ++wrong;
    }
    EXPECT_EQ(wrong, 0U);
  }
}

TEST_P(LendingTest, OnlyWhatIsCopiedIsCounted) {
  const Client client;
  Served served(std::make_unique<Mixed>(), GetParam());
  ASSERT_EQ(served.error(), "");
  EXPECT_NE(served.device().info().flags & ublk::abi::kSupportZeroCopy, 0U);
  EXPECT_NE(served.device().info().flags & ublk::abi::kUserCopy, 0U);
  ASSERT_EQ(client.read(served.path(), 0, kPart), 0);  // the first open reads partitions
  const uint64_t before = served.device().reports().front().copied_bytes;
  ASSERT_EQ(client.write(served.path(), 0, 256 * 1024), 0);
  EXPECT_EQ(served.device().reports().front().copied_bytes - before, kPart);
}

TEST_P(LendingTest, TheDriverKeepsALoanWhatItIs) {
  auto target = std::make_unique<Offender>();
  Offender& offender = *target;
  const Client client;
  Served served(std::move(target), GetParam());
  ASSERT_EQ(served.error(), "");
  const auto memory = client.memory(4096);
  for (const bool writes : {false, true}) {
    SCOPED_TRACE(writes ? "write" : "read");
    std::ranges::fill(memory, std::byte{0xee});
    const int answer =
        writes ? client.write(served.path(), 8192, 4096) : client.read(served.path(), 8192, 4096);
    EXPECT_EQ(answer, EIO);
    EXPECT_THAT(memory, testing::Each(std::byte{0xee}));
    const Offender::Results results = offender.take_results();
    EXPECT_THAT(results.wrong_direction, testing::ElementsAre(-EACCES));
    EXPECT_THAT(results.beyond_end, testing::ElementsAre(-EINVAL));
    EXPECT_THAT(results.other_tag, testing::ElementsAre(-EINVAL));
    EXPECT_THAT(results.fixed_direction, testing::ElementsAre(-EFAULT));
    EXPECT_THAT(results.fixed_beyond_end, testing::ElementsAre(-EFAULT));
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, MixedCopyTest,
                         testing::Values(ublk::BufferMode::auto_register,
                                         ublk::BufferMode::register_buf,
                                         ublk::BufferMode::user_copy, ublk::BufferMode::get_data,
                                         ublk::BufferMode::copy),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Modes, LendingTest,
                         testing::Values(ublk::BufferMode::auto_register,
                                         ublk::BufferMode::register_buf),
                         name_of);

}  // namespace
}  // namespace sluice::test
