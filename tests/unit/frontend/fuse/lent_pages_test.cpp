// READ and WRITE if the kernel has registered the pages of the request in the ring's buffer table
// (data path uring_zc): they are lent, or copied if that is not possible.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "frontend/fuse/file_io.hpp"
#include "support/manual_ring.hpp"
#include "support/member_target.hpp"
#include "target/file/fine_blocks.hpp"
#include "unit/frontend/fuse/frames.hpp"

namespace sluice::test {
namespace {

class FuseLentPages : public testing::Test {
 protected:
  static constexpr int kSlot = 5;
  static constexpr uint64_t kSize = 1U << 20;
  static constexpr uint32_t kMaxIo = 65536;

  explicit FuseLentPages(bool fine_blocks = false)
      : stack_(make_root(file_descriptor_, fine_blocks)) {}

  // A target with blocks of 512 bytes: natively, or by FineBlocks on blocks of 4096.
  static std::unique_ptr<Target> make_root(int file, bool fine_blocks) {
    auto member = std::make_unique<Member>(file, kSize);
    if (!fine_blocks) return member;
    member->shape().logical_block_bytes = 4096;
    return std::make_unique<FineBlocks>(std::move(member), FineBlocks::Shape{.size_bytes = kSize});
  }

  void SetUp() override {
    ASSERT_EQ(ftruncate(file_descriptor_, kSize), 0);
    ASSERT_TRUE(memory_.reserve_file(2, kMaxIo));
    tag_.set_up(ring_, 0, 1);
    tag_.use(memory_, 1);
    tag_.slot = kSlot;
    ring_.set_buffer(kSlot, pages_);
  }
  void TearDown() override { close(file_descriptor_); }

  void begin(uint32_t opcode, const Bytes& arguments, size_t payload_bytes) {
    arguments_ = arguments;
    tag_.call.header.opcode = opcode;
    tag_.call.header.nodeid = FUSE_ROOT_ID;
    tag_.call.arguments = arguments_;
    tag_.call.payload = {tag_.data, payload_bytes};
    done_ = false;
    serve();
    ring_.settle();
  }
  void begin_read(uint64_t offset, uint32_t size) {
    begin(FUSE_READ, read_arguments(offset, size), 0);
  }
  // The data is in the pages.
  void begin_write(uint64_t offset, uint32_t size) {
    begin(FUSE_WRITE, write_arguments(offset, size), size);
  }
  Service serve() {
    Status status;
    {  // the frame must be destroyed before the arena is reset
      Task serving = io_.serve(tag_.request, tag_);
      status = co_await serving;
    }
    if (!status.ok()) tag_.answer = {.error = status.error()};
    io_.conclude(tag_, counters_);
    done_ = true;
  }
  // Completes the request; returns its errno.
  int end() {
    ring_.perform_all();
    EXPECT_TRUE(done_);
    return tag_.answer.error;
  }

  // Expects one pending operation, on the stack's file and on the pages.
  void expect_lent(int opcode) {
    ASSERT_EQ(ring_.pending(), 1U);
    EXPECT_EQ(ring_.sqe(0).opcode, opcode);
    EXPECT_EQ(ring_.sqe(0).fd, file_descriptor_);
    EXPECT_EQ(ring_.sqe(0).buf_index, kSlot);
    EXPECT_EQ(ring_.sqe(0).addr, 0U);
  }

  void fill_pages(int value) { std::ranges::fill(pages_, static_cast<std::byte>(value)); }
  void fill_file(uint64_t offset, size_t length, int value) const {
    const Bytes bytes = pattern(length, value);
    ASSERT_EQ(pwrite(file_descriptor_, bytes.data(), length, static_cast<off_t>(offset)),
              static_cast<ssize_t>(length));
  }
  Bytes file_bytes(uint64_t offset, size_t length) const {
    Bytes bytes(length);
    EXPECT_EQ(pread(file_descriptor_, bytes.data(), length, static_cast<off_t>(offset)),
              static_cast<ssize_t>(length));
    return bytes;
  }
  Bytes first_pages(size_t length) const { return {pages_.data(), pages_.data() + length}; }
  static Bytes pattern(size_t length, int value) {
    return Bytes(length, static_cast<std::byte>(value));
  }
  uint64_t copied() const { return counters_.copied_bytes; }

  ManualRing ring_;
  int file_descriptor_ = memfd_create("stack", MFD_CLOEXEC);
  Stack stack_;
  fuse::OneFile file_{fuse::OneFile::Shape{.size_bytes = kSize}};
  fuse::FileIo io_{stack_, file_, kMaxIo};
  fuse::TagMemory memory_;
  fuse::Tag tag_;
  Bytes pages_ = Bytes(kMaxIo);
  Bytes arguments_;
  QueueCounters counters_;
  bool done_ = false;
};

TEST_F(FuseLentPages, WholeBlocksAreReadIntoThePages) {
  fill_file(4096, 8192, 3);
  begin_read(4096, 8192);
  expect_lent(IORING_OP_READ_FIXED);
  EXPECT_EQ(end(), 0);
  EXPECT_EQ(tag_.answer.length, 8192U);
  EXPECT_EQ(first_pages(8192), pattern(8192, 3));
  EXPECT_EQ(copied(), 0U);
}

TEST_F(FuseLentPages, WholeBlocksAreWrittenFromThePages) {
  fill_pages(4);
  begin_write(4096, 8192);
  expect_lent(IORING_OP_WRITE_FIXED);
  EXPECT_EQ(end(), 0);
  EXPECT_EQ(value_in<fuse_write_out>({tag_.answer_body(), sizeof(fuse_write_out)}).size, 8192U);
  EXPECT_EQ(file_bytes(4096, 8192), pattern(8192, 4));
  EXPECT_EQ(copied(), 0U);
}

TEST_F(FuseLentPages, PartsOfBlocksAreCopied) {
  for (const auto& [offset, length] : std::initializer_list<std::pair<uint64_t, uint32_t>>{
           {100, 50}, {0, 100}, {500, 24}, {511, 2}, {512, 513}, {1, 40000}, {300, kMaxIo}}) {
    fill_file(0, 131072, 1);
    fill_pages(7);
    const uint64_t before = copied();
    begin_write(offset, length);
    EXPECT_EQ(end(), 0);
    EXPECT_EQ(file_bytes(0, offset), pattern(offset, 1)) << offset;
    EXPECT_EQ(file_bytes(offset, length), pattern(length, 7)) << offset;
    EXPECT_EQ(file_bytes(offset + length, 1000), pattern(1000, 1)) << offset;
    fill_pages(0);
    begin_read(offset, length);
    EXPECT_EQ(end(), 0);
    EXPECT_EQ(first_pages(length), pattern(length, 7)) << offset;
    EXPECT_EQ(copied() - before, 2 * length);
  }
}

TEST_F(FuseLentPages, OnlyWhatLiesBeforeTheEndIsLent) {
  fill_pages(4);
  begin_write(kSize - 4096, 8192);
  EXPECT_EQ(ring_.sqe(0).len, 4096U);
  EXPECT_EQ(end(), 0);
  EXPECT_EQ(file_bytes(kSize - 4096, 4096), pattern(4096, 4));
  begin_read(kSize - 4096, 8192);
  EXPECT_EQ(ring_.sqe(0).len, 4096U);
  EXPECT_EQ(end(), 0);
  EXPECT_EQ(tag_.answer.length, 4096U);
  EXPECT_EQ(copied(), 0U);
}

TEST_F(FuseLentPages, WhatTheBackingDoesNotTakeIsCopied) {
  fill_pages(4);
  begin_write(4096, 8192);
  expect_lent(IORING_OP_WRITE_FIXED);
  ring_.complete(0, -EINVAL);
  EXPECT_EQ(end(), 0);
  EXPECT_EQ(file_bytes(4096, 8192), pattern(8192, 4));
  EXPECT_EQ(copied(), 8192U);
  fill_pages(0);
  begin_read(4096, 8192);
  expect_lent(IORING_OP_READ_FIXED);
  ring_.complete(0, -EINVAL);
  EXPECT_EQ(end(), 0);
  EXPECT_EQ(first_pages(8192), pattern(8192, 4));
  EXPECT_EQ(copied(), 16384U);
}

class FuseLentPagesOfFineBlocks : public FuseLentPages {
 protected:
  FuseLentPagesOfFineBlocks() : FuseLentPages(/*fine_blocks=*/true) {}
};

// The server cannot access a part of these pages.
TEST_F(FuseLentPagesOfFineBlocks, WhatATargetMustCopyIsCopied) {
  fill_pages(4);
  begin_write(512, 1024);
  EXPECT_EQ(end(), 0);
  EXPECT_EQ(file_bytes(0, 512), pattern(512, 0));
  EXPECT_EQ(file_bytes(512, 1024), pattern(1024, 4));
  fill_pages(0);
  begin_read(512, 1024);
  EXPECT_EQ(end(), 0);
  EXPECT_EQ(first_pages(1024), pattern(1024, 4));
  EXPECT_EQ(copied(), 2048U);
  begin_write(4096, 8192);
  expect_lent(IORING_OP_WRITE_FIXED);
  EXPECT_EQ(end(), 0);
  EXPECT_EQ(copied(), 2048U);
}

TEST_F(FuseLentPages, OtherErrorsAreTheAnswer) {
  begin_write(4096, 8192);
  ring_.complete(0, -EIO);
  EXPECT_EQ(ring_.pending(), 0U);
  EXPECT_EQ(end(), EIO);
  begin_read(4096, 8192);
  ring_.complete(0, -EIO);
  EXPECT_EQ(end(), EIO);
  // The copy may fail as well.
  begin_write(1, 100);
  ring_.complete(0, -ENOMEM);
  EXPECT_EQ(end(), ENOMEM);
  EXPECT_EQ(file_bytes(0, 512), pattern(512, 0));
}

TEST_F(FuseLentPages, ARequestWithoutPagesUsesTheData) {
  tag_.slot = Loan::kNoSlot;
  fill_file(4096, 8192, 3);
  begin_read(4096, 8192);
  EXPECT_EQ(end(), 0);
  EXPECT_EQ(Bytes(tag_.data, tag_.data + 8192), pattern(8192, 3));
  EXPECT_EQ(copied(), 8192U);
}

}  // namespace
}  // namespace sluice::test
