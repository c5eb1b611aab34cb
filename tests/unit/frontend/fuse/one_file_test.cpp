#include "frontend/fuse/one_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "unit/frontend/fuse/frames.hpp"

namespace sluice::fuse {
namespace {

using test::Bytes;

constexpr uint64_t kExportBytes = 1U << 20;

class FuseOneFile : public testing::Test {
 protected:
  Answer ask(uint32_t opcode, uint64_t node, const Bytes& arguments = {}) {
    const Bytes frame = test::make_frame(opcode, node, arguments);
    return file_.answer(*parse_call(frame), out_);
  }
  template <typename T>
  T reply() const {
    return test::value_in<T>(out_);
  }
  // Replaces the file by another one of the same size.
  void become(const OneFile::Shape& shape) {
    std::destroy_at(&file_);
    std::construct_at(&file_, shape);
    file_.use_direct_io();
  }
  static Bytes open_with(uint32_t flags) {
    return test::bytes_of(fuse_open_in{.flags = flags, .open_flags = 0});
  }
  static Bytes seek_to(uint64_t offset, uint32_t whence) {
    return test::bytes_of(fuse_lseek_in{.fh = 0, .offset = offset, .whence = whence, .padding = 0});
  }

  OneFile file_{{.uid = 5, .gid = 6, .size_bytes = kExportBytes}};
  Bytes out_ = Bytes(OneFile::kAnswerBytesMax);
};

TEST_F(FuseOneFile, TheRootIsTheFile) {
  EXPECT_EQ(ask(FUSE_GETATTR, 1).length, sizeof(fuse_attr_out));
  const auto attributes = reply<fuse_attr_out>();
  EXPECT_EQ(attributes.attr.size, kExportBytes);
  EXPECT_EQ(attributes.attr.mode, static_cast<uint32_t>(S_IFREG | 0600));
  EXPECT_EQ(attributes.attr.uid, 5U);
  EXPECT_EQ(attributes.attr_valid, 0U) << "a new size must show at once";
  EXPECT_EQ(ask(FUSE_GETATTR, 2).error, ENOENT);
  EXPECT_EQ(ask(FUSE_LOOKUP, 1, test::text_bytes("disk")).error, ENOTDIR);
}

TEST_F(FuseOneFile, InADirectoryTheFileIsCalledDisk) {
  become({.in_directory = true, .size_bytes = kExportBytes});
  ask(FUSE_GETATTR, 1);
  EXPECT_TRUE(S_ISDIR(reply<fuse_attr_out>().attr.mode));
  EXPECT_EQ(ask(FUSE_LOOKUP, 1, test::text_bytes("other")).error, ENOENT);
  EXPECT_EQ(ask(FUSE_LOOKUP, 1, test::text_bytes("disk")).error, 0);
  EXPECT_EQ(reply<fuse_entry_out>().nodeid, 2U);
  EXPECT_EQ(reply<fuse_entry_out>().attr.size, kExportBytes);
}

TEST_F(FuseOneFile, ADirectoryIsListedInAsManyPartsAsAskedFor) {
  become({.in_directory = true, .size_bytes = kExportBytes});
  EXPECT_EQ(ask(FUSE_OPENDIR, 1, open_with(0)).error, 0);
  const Answer all = ask(FUSE_READDIR, 1, test::read_arguments(0, 4096));
  EXPECT_EQ(all.length, 32U * 3);
  const Answer first = ask(FUSE_READDIR, 1, test::read_arguments(0, 40));
  EXPECT_EQ(first.length, 32U);
  const Answer last = ask(FUSE_READDIR, 1, test::read_arguments(2, 4096));
  EXPECT_EQ(last.length, 32U);
  EXPECT_EQ(reply<fuse_dirent>().namelen, 4U);
  EXPECT_EQ(std::memcmp(out_.data() + FUSE_NAME_OFFSET, "disk", 4), 0);
  EXPECT_EQ(ask(FUSE_READDIR, 1, test::read_arguments(3, 4096)).length, 0U);
  EXPECT_EQ(ask(FUSE_READDIR, 2, test::read_arguments(0, 4096)).error, ENOTDIR);
}

TEST_F(FuseOneFile, OpensForDirectAndParallelIo) {
  file_.use_direct_io();
  EXPECT_EQ(ask(FUSE_OPEN, 1, open_with(O_RDWR)).error, 0);
  EXPECT_EQ(reply<abi::OpenOut>().open_flags, FOPEN_DIRECT_IO | abi::kOpenParallelDirectWrites);
}

TEST_F(FuseOneFile, PagesAreLentToThoseWhoOpenWithODirect) {
  file_.use_direct_io();
  ask(FUSE_OPEN, 1, open_with(O_RDWR | O_DIRECT));
  EXPECT_EQ(reply<abi::OpenOut>().open_flags & abi::kOpenZeroCopy, 0U);
  file_.lend_pages();
  ask(FUSE_OPEN, 1, open_with(O_RDWR | O_DIRECT));
  EXPECT_NE(reply<abi::OpenOut>().open_flags & abi::kOpenZeroCopy, 0U);
  EXPECT_NE(reply<abi::OpenOut>().open_flags & FOPEN_DIRECT_IO, 0U);
  ask(FUSE_OPEN, 1, open_with(O_RDWR));
  EXPECT_EQ(reply<abi::OpenOut>().open_flags & abi::kOpenZeroCopy, 0U);
}

TEST_F(FuseOneFile, OpensByPassthroughWithItsBackingFile) {
  file_.use_passthrough(3, -1);
  ask(FUSE_OPEN, 1, open_with(O_RDWR));
  EXPECT_EQ(reply<abi::OpenOut>().open_flags, abi::kOpenPassthrough);
  EXPECT_EQ(reply<abi::OpenOut>().backing_id, 3);
}

TEST_F(FuseOneFile, AReadOnlyFileIsNotOpenedForWriting) {
  become({.read_only = true, .size_bytes = kExportBytes});
  EXPECT_EQ(ask(FUSE_OPEN, 1, open_with(O_RDWR)).error, EROFS);
  EXPECT_EQ(ask(FUSE_OPEN, 1, open_with(O_WRONLY)).error, EROFS);
  EXPECT_EQ(ask(FUSE_OPEN, 1, open_with(O_RDONLY)).error, 0);
}

TEST_F(FuseOneFile, TheSizeCannotBeChangedByItsUsers) {
  fuse_setattr_in argument{};
  argument.valid = FATTR_SIZE;
  argument.size = kExportBytes / 2;
  EXPECT_EQ(ask(FUSE_SETATTR, 1, test::bytes_of(argument)).error, EPERM);
  argument.size = kExportBytes;
  EXPECT_EQ(ask(FUSE_SETATTR, 1, test::bytes_of(argument)).error, 0);
}

TEST_F(FuseOneFile, ModeOwnerAndTimesCan) {
  fuse_setattr_in argument{};
  argument.valid = FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_MTIME | FATTR_ATIME;
  argument.mode = S_IFREG | 0640;
  argument.uid = 7;
  argument.gid = 8;
  argument.mtime = 1000;
  argument.atime = 2000;
  EXPECT_EQ(ask(FUSE_SETATTR, 1, test::bytes_of(argument)).length, sizeof(fuse_attr_out));
  const fuse_attr now = reply<fuse_attr_out>().attr;
  EXPECT_EQ(now.mode, static_cast<uint32_t>(S_IFREG | 0640));
  EXPECT_EQ(now.uid, 7U);
  EXPECT_EQ(now.gid, 8U);
  EXPECT_EQ(now.mtime, 1000U);
  EXPECT_EQ(now.atime, 2000U);
  file_.note_write();
  ask(FUSE_GETATTR, 1);
  EXPECT_GT(reply<fuse_attr_out>().attr.mtime, 1000U);
}

TEST_F(FuseOneFile, ANewSizeShowsEverywhere) {
  file_.resize(kExportBytes / 2);
  ask(FUSE_GETATTR, 1);
  EXPECT_EQ(reply<fuse_attr_out>().attr.size, kExportBytes / 2);
  EXPECT_EQ(ask(abi::kStatx, 1).length, sizeof(abi::StatxOut));
  EXPECT_EQ(reply<abi::StatxOut>().size, kExportBytes / 2);
  ask(FUSE_STATFS, 1);
  EXPECT_EQ(reply<fuse_statfs_out>().st.blocks, kExportBytes / 2 / 4096);
}

// ENOSYS: the kernel executes the operation itself, or does without, and does not ask again.
TEST_F(FuseOneFile, LeavesToTheKernelWhatItDoesAsWell) {
  for (const uint32_t opcode : {FUSE_ACCESS, FUSE_POLL, FUSE_GETXATTR, FUSE_LISTXATTR,
                                FUSE_COPY_FILE_RANGE, FUSE_BMAP, FUSE_SYNCFS}) {
    EXPECT_EQ(ask(opcode, 1).error, ENOSYS) << opcode;
  }
  EXPECT_EQ(ask(FUSE_LSEEK, 1, seek_to(0, SEEK_DATA)).error, ENOSYS);
  EXPECT_EQ(ask(4711, 1).error, ENOSYS);
}

TEST_F(FuseOneFile, ThereIsNothingElseToMakeOrRemove) {
  for (const uint32_t opcode : {FUSE_MKNOD, FUSE_CREATE, FUSE_UNLINK, FUSE_RENAME2}) {
    EXPECT_EQ(ask(opcode, 1).error, EPERM) << opcode;
  }
  EXPECT_EQ(ask(FUSE_IOCTL, 1).error, ENOTTY);
}

TEST_F(FuseOneFile, EndsPolitely) {
  for (const uint32_t opcode : {FUSE_FLUSH, FUSE_RELEASE}) {
    EXPECT_EQ(ask(opcode, 1).error, 0) << opcode;
  }
  EXPECT_TRUE(ask(FUSE_DESTROY, 0).expected);
  for (const uint32_t opcode : {FUSE_FORGET, FUSE_BATCH_FORGET, FUSE_INTERRUPT}) {
    EXPECT_FALSE(ask(opcode, 0).expected) << opcode;
  }
}

TEST_F(FuseOneFile, FindsTheHolesOfAPassedThroughFile) {
  const int hole = memfd_create("holes", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(hole, kExportBytes), 0);
  ASSERT_EQ(pwrite(hole, "x", 1, 65536), 1);
  file_.use_passthrough(1, hole);
  EXPECT_EQ(ask(FUSE_LSEEK, 1, seek_to(0, SEEK_DATA)).error, 0);
  EXPECT_EQ(reply<fuse_lseek_out>().offset, 65536U);
  EXPECT_EQ(ask(FUSE_LSEEK, 1, seek_to(2 * kExportBytes, SEEK_DATA)).error, ENXIO);
  close(hole);
}

TEST_F(FuseOneFile, AStructureThatDidNotComeIsRefused) {
  for (const uint32_t opcode : {FUSE_SETATTR, FUSE_OPEN, FUSE_LSEEK}) {
    EXPECT_EQ(ask(opcode, 1).error, EINVAL) << opcode;
  }
}

}  // namespace
}  // namespace sluice::fuse
