// READ, WRITE, FSYNC and FALLOCATE: any bytes of the file, on a stack of whole blocks.
#include "frontend/fuse/file_io.hpp"

#include <fcntl.h>
#include <linux/falloc.h>

#include "unit/frontend/fuse/fake_device.hpp"

namespace sluice::test {
namespace {

class FuseFileIo : public FakeDevice {
 protected:
  static Bytes write_frame(uint64_t offset, const Bytes& data, uint32_t flags = 0) {
    return make_frame(FUSE_WRITE, 1,
                      write_arguments(offset, static_cast<uint32_t>(data.size()), flags), data);
  }
  Reply write(uint64_t offset, const Bytes& data) { return ask(write_frame(offset, data)); }
  Reply read(uint64_t offset, uint32_t size) {
    return ask(make_frame(FUSE_READ, 1, read_arguments(offset, size)));
  }
  Reply allocate(uint32_t mode, uint64_t offset, uint64_t length) {
    fuse_fallocate_in argument{};
    argument.offset = offset;
    argument.length = length;
    argument.mode = mode;
    return ask(make_frame(FUSE_FALLOCATE, 1, bytes_of(argument)));
  }
  static Bytes pattern(size_t length, int value = 7) {
    return Bytes(length, static_cast<std::byte>(value));
  }
};

TEST_F(FuseFileIo, ReadsWholeBlocksInOnePiece) {
  fill_file(4096, 8192, 3);
  deliver(make_frame(FUSE_READ, 1, read_arguments(4096, 8192)));
  const io_uring_sqe& sqe = ring_.sqe(*find(IORING_OP_READ, file_descriptor_));
  EXPECT_EQ(sqe.addr % 4096, 0U) << "direct I/O takes nothing else";
  perform_on_file();
  EXPECT_EQ(take_reply()->body, pattern(8192, 3));
}

TEST_F(FuseFileIo, ReadsAnyBytes) {
  fill_file(0, 4096, 1);
  fill_file(1000, 100, 9);
  EXPECT_EQ(read(1000, 100).body, pattern(100, 9));
  EXPECT_EQ(read(999, 1).body, pattern(1, 1));
  EXPECT_EQ(read(500, 40).body, pattern(40, 1));
}

TEST_F(FuseFileIo, ReadsNothingBehindTheEnd) {
  EXPECT_EQ(read(kSize - 100, 4096).body.size(), 100U);
  EXPECT_TRUE(read(kSize, 4096).body.empty());
  EXPECT_TRUE(read(UINT64_MAX - 10, 4096).body.empty());
}

TEST_F(FuseFileIo, WritesWholeBlocksInOnePiece) {
  deliver(write_frame(8192, pattern(4096)));
  const io_uring_sqe& sqe = ring_.sqe(*find(IORING_OP_WRITE, file_descriptor_));
  EXPECT_EQ(sqe.addr % 4096, 0U) << "direct I/O takes nothing else";
  EXPECT_EQ(sqe.rw_flags, 0);
  perform_on_file();
  EXPECT_EQ(value_in<fuse_write_out>(take_reply()->body).size, 4096U);
  EXPECT_EQ(file_bytes(8192, 4096), pattern(4096));
}

TEST_F(FuseFileIo, WritesAnyBytesAndNoOthers) {
  for (const auto& [offset, length] : std::initializer_list<std::pair<uint64_t, size_t>>{
           {100, 50}, {0, 100}, {500, 24}, {500, 1000}, {511, 2}, {512, 513}, {1, 40000}}) {
    fill_file(0, 65536, 1);
    EXPECT_EQ(value_in<fuse_write_out>(write(offset, pattern(length)).body).size, length);
    EXPECT_EQ(file_bytes(0, offset), pattern(offset, 1)) << offset;
    EXPECT_EQ(file_bytes(offset, length), pattern(length)) << offset;
    EXPECT_EQ(file_bytes(offset + length, 1000), pattern(1000, 1)) << offset;
  }
}

TEST_F(FuseFileIo, TheLargestWriteMayLieAnywhere) {
  EXPECT_EQ(value_in<fuse_write_out>(write(300, pattern(kMaxIo)).body).size, kMaxIo);
  EXPECT_EQ(file_bytes(300, kMaxIo), pattern(kMaxIo));
  EXPECT_EQ(read(300, kMaxIo).body, pattern(kMaxIo));
}

TEST_F(FuseFileIo, TwoWritesToOneBlockBothArrive) {
  deliver(write_frame(0, pattern(100, 1)));
  deliver(write_frame(100, pattern(100, 2)));
  deliver(write_frame(0, pattern(512, 3)));
  EXPECT_EQ(count(IORING_OP_READ, file_descriptor_), 1U) << "the others wait";
  perform_on_file();
  EXPECT_EQ(file_bytes(0, 512), pattern(512, 3)) << "first come, first served";
  while (take_reply()) {
  }
}

TEST_F(FuseFileIo, WritesOfWholeBlocksDoNotWaitForEachOther) {
  deliver(write_frame(0, pattern(4096)));
  deliver(write_frame(0, pattern(4096)));
  EXPECT_EQ(count(IORING_OP_WRITE, file_descriptor_), 2U);
  perform_on_file();
  while (take_reply()) {
  }
}

TEST_F(FuseFileIo, AWriteThatMustLastIsDurable) {
  for (const int flags : {O_DSYNC, O_SYNC}) {
    deliver(write_frame(0, pattern(512), static_cast<uint32_t>(flags)));
    EXPECT_EQ(ring_.sqe(*find(IORING_OP_WRITE, file_descriptor_)).rw_flags, RWF_DSYNC);
    perform_on_file();
    EXPECT_EQ(take_reply()->error, 0);
  }
}

TEST_F(FuseFileIo, WritesUpToTheEndAndNotBeyond) {
  EXPECT_EQ(value_in<fuse_write_out>(write(kSize - 100, pattern(300)).body).size, 100U);
  EXPECT_EQ(file_bytes(kSize - 100, 100), pattern(100));
  EXPECT_EQ(write(kSize, pattern(1)).error, ENOSPC);
  EXPECT_EQ(write(UINT64_MAX - 10, pattern(512)).error, ENOSPC);
}

TEST_F(FuseFileIo, AnErrorOfTheStackIsTheAnswer) {
  deliver(write_frame(0, pattern(512)));
  ring_.complete(*find(IORING_OP_WRITE, file_descriptor_), -EIO);
  EXPECT_EQ(take_reply()->error, EIO);
  deliver(write_frame(10, pattern(10)));
  ring_.complete(*find(IORING_OP_READ, file_descriptor_), -EIO);
  EXPECT_EQ(take_reply()->error, EIO) << "what could not be completed is not written";
}

TEST_F(FuseFileIo, RefusesWhatIsTooLargeOrContradictsItself) {
  EXPECT_EQ(read(0, kMaxIo + 1).error, EINVAL);
  EXPECT_EQ(ask(make_frame(FUSE_WRITE, 1, write_arguments(0, 100), Bytes(99))).error, EINVAL);
  EXPECT_EQ(ask(make_frame(FUSE_READ, 1, Bytes(8))).error, EINVAL);
  EXPECT_EQ(ask(make_frame(FUSE_FALLOCATE, 1, Bytes(8))).error, EINVAL);
}

TEST_F(FuseFileIo, FsyncFlushesTheStack) {
  deliver(make_frame(FUSE_FSYNC, 1, bytes_of(fuse_fsync_in{})));
  EXPECT_TRUE(find(IORING_OP_FSYNC, file_descriptor_));
  perform_on_file();
  EXPECT_EQ(take_reply()->error, 0);
}

TEST_F(FuseFileIo, AFailedFsyncIsTold) {
  deliver(make_frame(FUSE_FSYNC, 1, bytes_of(fuse_fsync_in{})));
  ring_.complete(*find(IORING_OP_FSYNC, file_descriptor_), -EIO);
  EXPECT_EQ(take_reply()->error, EIO);
  EXPECT_EQ(write(0, pattern(512)).error, EIO) << "until the stack is opened again";
}

TEST_F(FuseFileIo, PunchesAndZeroesAnyBytes) {
  const uint32_t keep = FALLOC_FL_KEEP_SIZE;
  for (const uint32_t mode : {FALLOC_FL_PUNCH_HOLE | keep, uint32_t{FALLOC_FL_ZERO_RANGE}}) {
    for (const auto& [offset, length] : std::initializer_list<std::pair<uint64_t, size_t>>{
             {0, 4096}, {100, 50}, {100, 2000}, {512, 600}, {400, 300}, {400, 112}}) {
      fill_file(0, 8192, 1);
      EXPECT_EQ(allocate(mode, offset, length).error, 0);
      EXPECT_EQ(file_bytes(0, offset), pattern(offset, 1)) << offset;
      EXPECT_EQ(file_bytes(offset, length), pattern(length, 0)) << offset;
      EXPECT_EQ(file_bytes(offset + length, 512), pattern(512, 1)) << offset;
    }
  }
}

TEST_F(FuseFileIo, PunchesUpToTheEnd) {
  fill_file(kSize - 4096, 4096, 1);
  EXPECT_EQ(allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kSize - 1024, 1 << 20).error, 0);
  EXPECT_EQ(file_bytes(kSize - 1024, 1024), pattern(1024, 0));
  EXPECT_EQ(allocate(FALLOC_FL_ZERO_RANGE, kSize - 1024, 1 << 20).error, ENOSPC);
}

TEST_F(FuseFileIo, RefusesWhatWouldChangeTheSize) {
  for (const int mode : {0, FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE}) {
    EXPECT_EQ(allocate(static_cast<uint32_t>(mode), 0, 4096).error, EOPNOTSUPP) << mode;
  }
}

TEST_F(FuseFileIo, PunchesNoHoleIntoWhatCannotDiscard) {
  start({.needs_bytes = true});
  EXPECT_EQ(allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096).error, EOPNOTSUPP);
  EXPECT_EQ(allocate(FALLOC_FL_ZERO_RANGE, 0, 4096).error, 0);
}

TEST_F(FuseFileIo, AReadOnlyFileIsNotWritten) {
  start({.read_only = true});
  EXPECT_EQ(write(0, pattern(512)).error, EROFS);
  EXPECT_EQ(allocate(FALLOC_FL_ZERO_RANGE, 0, 4096).error, EROFS);
  EXPECT_EQ(read(0, 512).error, 0);
}

TEST_F(FuseFileIo, ASmallerSizeHoldsAtOnce) {
  file_->resize(4096);
  EXPECT_EQ(read(4000, 4096).body.size(), 96U);
  EXPECT_EQ(write(4096, pattern(1)).error, ENOSPC);
}

}  // namespace
}  // namespace sluice::test
