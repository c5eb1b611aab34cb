// loop on files that only root can set up: block devices of the kernel's loop driver, full and
// read-only file systems.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

// A block device on a file. The kernel may lack the loop driver, or a container the access to it.
class LoopDevice {
 public:
  explicit LoopDevice(const std::string& file, const std::string& options = "")
      : device_("losetup --find --show " + options + " " + file, "losetup --detach {}") {}
  bool works() const { return device_.works(); }
  const std::string& path() const { return device_.output(); }

 private:
  Undoable device_;
};

#define SLUICE_NEEDS_ROOT() \
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to make a block device or mount a file system"
#define SLUICE_NEEDS(thing) \
  if (!(thing).works()) GTEST_SKIP() << "needs " #thing ": " << (thing).output()

class LoopBlockDevice : public testing::Test {
 protected:
  void SetUp() override {
    SLUICE_NEEDS_ROOT();
    device_ = std::make_unique<LoopDevice>(file_, "--sector-size 4096");
    if (!device_->works()) GTEST_SKIP() << "no loop device: " << device_->path();
  }

  const TempDir directory_;
  const std::string file_ = directory_.file("backing.img", 8 << 20);
  std::unique_ptr<LoopDevice> device_;
};

TEST_F(LoopBlockDevice, IsServedWithItsOwnLimits) {
  LiveStack stack(device_->path());
  EXPECT_EQ(stack.geometry().size_bytes, 8U << 20);
  EXPECT_EQ(stack.geometry().logical_block_bytes, 4096U);
  EXPECT_GE(stack.geometry().physical_block_bytes, 4096U);
  EXPECT_GT(stack.geometry().max_segments, 0U);
  EXPECT_TRUE(stack.geometry().can_discard);
  EXPECT_GT(stack.geometry().discard_granularity_bytes, 0U);
  EXPECT_GT(stack.geometry().memory_alignment_bytes, 1U);
}

TEST_F(LoopBlockDevice, WritesReadsFlushes) {
  LiveStack stack("loop(" + device_->path() + ", offset=1M)");
  EXPECT_EQ(stack.geometry().size_bytes, 7U << 20);
  EXPECT_TRUE(stack.write(8192, Block(8192, 'b'), /*fua=*/true).ok());
  EXPECT_TRUE(stack.flush().ok());
  const Block back(8192);
  EXPECT_TRUE(stack.read(8192, back).ok());
  EXPECT_TRUE(back.all('b'));
  EXPECT_EQ(stack.read(512, Block(512)).error(), EINVAL) << "its blocks have 4096 bytes";
}

TEST_F(LoopBlockDevice, IsServedInSmallerBlocksToo) {
  LiveStack stack("loop(" + device_->path() + ", block=512, offset=1M)");
  EXPECT_EQ(stack.geometry().size_bytes, 7U << 20);
  EXPECT_EQ(stack.geometry().logical_block_bytes, 512U);
  EXPECT_EQ(stack.geometry().physical_block_bytes, 4096U);
  EXPECT_TRUE(stack.write(0, Block(16384, 'o')).ok());
  EXPECT_TRUE(stack.write(3584, Block(5120, 'n'), /*fua=*/true).ok());
  EXPECT_TRUE(stack.without_data(Op::write_zeroes, 512, 512).ok());
  EXPECT_TRUE(stack.without_data(Op::discard, 9216, 2048).ok());
  constexpr std::pair<uint64_t, int> kWritten[] = {
      {0, 'o'},    {512, 0},    {1024, 'o'}, {3072, 'o'},
      {3584, 'n'}, {8192, 'n'}, {8704, 'o'}, {9216, 'o'},
  };
  const Block back(512);
  for (const auto& [offset, byte] : kWritten) {
    EXPECT_TRUE(stack.read(offset, back).ok());
    EXPECT_TRUE(back.all(byte)) << offset;
  }
}

TEST_F(LoopBlockDevice, APartOfOneBlockIsADeviceToo) {
  const std::string loop = "loop(" + device_->path();
  LiveStack stack(loop + ", block=512, offset=512, size=1536)");
  EXPECT_EQ(stack.geometry().size_bytes, 1536U);
  EXPECT_TRUE(stack.write(0, Block(1536, 'p')).ok());
  EXPECT_TRUE(stack.flush().ok());
  const Block back(1536);
  EXPECT_TRUE(stack.read(0, back).ok());
  EXPECT_TRUE(back.all('p'));
}

TEST_F(LoopBlockDevice, BlocksThatCannotBeAreRefused) {
  const std::string loop = "loop(" + device_->path();
  EXPECT_THAT(open_error(loop + ", block=512, offset=100)"),
              HasSubstr("offset 100 is no multiple of 512"));
  EXPECT_THAT(open_error(loop + ", block=1000)"),
              HasSubstr("block 1000 is no power of two: give 512, 1k, 2k or 4k"));
  EXPECT_THAT(open_error(loop + ", block=8k)"), HasSubstr("must be 4k or less"));
  EXPECT_THAT(open_error(loop + ", block=512, size=700)"), HasSubstr("no multiple of 512"));
}

TEST_F(LoopBlockDevice, DiscardReachesWhatIsBehindIt) {
  LiveStack stack(device_->path());
  EXPECT_TRUE(stack.write(0, Block(1 << 20, 'd')).ok());
  EXPECT_TRUE(stack.flush().ok());
  const uint64_t full = allocated_bytes(file_);
  EXPECT_TRUE(stack.without_data(Op::discard, 0, 1 << 20).ok());
  EXPECT_EQ(allocated_bytes(file_), full - (1 << 20));
}

TEST_F(LoopBlockDevice, WriteZeroesInBothWays) {
  LiveStack stack(device_->path());
  EXPECT_TRUE(stack.write(0, Block(1 << 20, 'z')).ok());
  EXPECT_TRUE(stack.without_data(Op::write_zeroes, 0, 65536, /*may_unmap=*/true).ok());
  EXPECT_TRUE(stack.without_data(Op::write_zeroes, 65536, 65536, /*may_unmap=*/false).ok());
  const Block back(131072, 'x');
  EXPECT_TRUE(stack.read(0, back).ok());
  EXPECT_TRUE(back.all(0));
  EXPECT_TRUE(stack.read(131072, back).ok());
  EXPECT_TRUE(back.all('z'));
}

TEST_F(LoopBlockDevice, IsClaimedWhileItIsWritten) {
  auto stack = open_stack(device_->path());
  ASSERT_TRUE(stack);
  const Descriptor other(open(device_->path().c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  EXPECT_FALSE(other.valid());
  EXPECT_EQ(errno, EBUSY);
}

TEST_F(LoopBlockDevice, IsNotWrittenWhileAnotherHasIt) {
  const Descriptor other(open(device_->path().c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  ASSERT_TRUE(other.valid());
  EXPECT_THAT(open_error(device_->path()), AllOf(HasSubstr("is in use"), HasSubstr("read_only")));
  EXPECT_THAT(open_error(device_->path(), /*read_only=*/true), IsEmpty());
}

TEST_F(LoopBlockDevice, CanBeOpenedAgainOnceTheRingIsGone) {
  for (int i = 0; i < 3; ++i) {
    LiveStack stack(device_->path());
    EXPECT_TRUE(stack.read(0, Block(4096)).ok());
  }
}

TEST_F(LoopBlockDevice, APartitionHasTheLimitsOfItsDisk) {
  const LoopDevice disk(directory_.file("disk.img", 8 << 20), "--partscan");
  const CommandResult made = run_command("echo 2048,4096 | sfdisk --no-reread --no-tell-kernel " +
                                         disk.path() + " && partx --add " + disk.path());
  const std::string partition = disk.path() + "p1";
  if (made.code != 0 || !std::filesystem::exists(partition)) {
    GTEST_SKIP() << "no partitions of loop devices here: " << made.output;
  }
  const Geometry whole = LiveStack(disk.path(), /*read_only=*/true).geometry();
  const Geometry part = LiveStack(partition).geometry();
  EXPECT_EQ(part.size_bytes, 4096U * 512);
  EXPECT_EQ(part.max_segments, whole.max_segments);
  EXPECT_EQ(part.discard_granularity_bytes, whole.discard_granularity_bytes);
  EXPECT_GT(part.max_segments, 0U);
}

TEST_F(LoopBlockDevice, AReadOnlyOneNeedsTheOption) {
  const LoopDevice device(directory_.file("ro.img", 1 << 20), "--read-only");
  ASSERT_TRUE(device.works()) << device.path();
  EXPECT_THAT(open_error(device.path()),
              AllOf(HasSubstr("read-only block device"), HasSubstr("option read_only")));
  LiveStack stack(device.path(), /*read_only=*/true);
  EXPECT_TRUE(stack.read(0, Block(4096)).ok());
}

class LoopMount : public testing::Test {
 protected:
  void SetUp() override { SLUICE_NEEDS_ROOT(); }
  // The part of a shell command that mounts an image. Avoids `mount -o loop`, which asks every loop
  // device of the machine for its file, also those that never answer. The device is removed when it
  // is unmounted.
  static std::string mounted(const std::string& image, const std::string& point) {
    return " && device=$(losetup --find --show " + image + ") && mount $device " + point +
           " && losetup --detach $device";
  }
  const TempDir directory_;
};

TEST_F(LoopMount, AFullFileSystemIsNoSpaceLeft) {
  const Undoable mount("mount -t tmpfs -o size=64k none " + directory_.path(),
                       "umount " + directory_.path());
  SLUICE_NEEDS(mount);
  LiveStack stack(directory_.file("a.img", 1 << 20));
  EXPECT_TRUE(stack.write(0, Block(32768, 'f')).ok());
  const LogCapture log;
  EXPECT_EQ(stack.write(65536, Block(65536, 'f')).error(), ENOSPC);
  EXPECT_EQ(stack.write(65536, Block(65536, 'f')).error(), ENOSPC);
  EXPECT_EQ(log.lines(), 1U) << log.text();
  EXPECT_TRUE(stack.without_data(Op::discard, 0, 1 << 20).ok());
  EXPECT_TRUE(stack.write(65536, Block(32768, 'f')).ok());
}

TEST_F(LoopMount, AFullExt4IsNoSpaceLeft) {
  const std::string image = directory_.file("fs.img", 2 << 20);
  const std::string point = directory_.path("mnt");
  mkdir(point.c_str(), 0755);
  const Undoable mount("mkfs.ext4 -q -O ^has_journal " + image + mounted(image, point),
                       "umount " + point);
  SLUICE_NEEDS(mount);
  const std::string path = point + "/a.img";
  make_file(path, 8 << 20);
  LiveStack stack(path);
  Status status;
  uint64_t offset = 0;
  for (; status.ok() && offset < 8 << 20; offset += 65536) {
    status = stack.write(offset, Block(65536, 'f'), /*fua=*/true);
  }
  EXPECT_EQ(status.error(), ENOSPC);
  EXPECT_FALSE(stack.stack().failed()) << "nothing that was acknowledged is lost";
  EXPECT_TRUE(stack.read(0, Block(65536)).ok());
}

TEST_F(LoopMount, AReadOnlyFileSystemNeedsTheOption) {
  const std::string file = directory_.file("a.img", 1 << 20);
  const Undoable mount("mount --bind " + directory_.path() + " " + directory_.path() +
                           " && mount -o remount,bind,ro " + directory_.path(),
                       "umount " + directory_.path());
  SLUICE_NEEDS(mount);
  EXPECT_THAT(open_error(file), AllOf(HasSubstr("read-only file system"), HasSubstr("read_only")));
  EXPECT_THAT(open_error(file, /*read_only=*/true), IsEmpty());
}

// ramfs has neither direct I/O nor fallocate.
TEST_F(LoopMount, APoorFileSystemIsServedNevertheless) {
  const Undoable mount("mount -t ramfs none " + directory_.path(), "umount " + directory_.path());
  SLUICE_NEEDS(mount);
  const LogCapture log;
  LiveStack stack(directory_.file("a.img", 1 << 20));
  EXPECT_THAT(log.text(), HasSubstr("no direct I/O in blocks of 4096 bytes: going through"));
  EXPECT_EQ(stack.geometry().memory_alignment_bytes, 1U);
  EXPECT_TRUE(stack.write(0, Block(1 << 20, 'r'), /*fua=*/true).ok());
  EXPECT_TRUE(stack.flush().ok());
  for (const bool may_unmap : {true, false}) {
    const uint64_t offset = may_unmap ? 4096 : 1 << 19;
    EXPECT_TRUE(stack.without_data(Op::write_zeroes, offset, 1 << 18, may_unmap).ok());
    const Block back(1 << 18, 'x');
    EXPECT_TRUE(stack.read(offset, back).ok());
    EXPECT_TRUE(back.all(0));
    EXPECT_TRUE(stack.read(offset + (1 << 18), back).ok());
    EXPECT_TRUE(back.all('r'));
  }
  EXPECT_EQ(stack.without_data(Op::discard, 0, 4096).error(), EOPNOTSUPP);
  EXPECT_EQ(log.lines(), 1U) << log.text();
}

// As on a disk with only such sectors.
TEST_F(LoopMount, XfsOfLargeSectorsIsServedInSmallBlocks) {
  const std::string image = directory_.file("fs.img", 512 << 20);
  const std::string point = directory_.path("mnt");
  mkdir(point.c_str(), 0755);
  const LoopDevice disk(image, "--sector-size 4096");
  if (!disk.works()) GTEST_SKIP() << "no loop device: " << disk.path();
  const Undoable mount("mkfs.xfs -q " + disk.path() + " && mount " + disk.path() + " " + point,
                       "umount " + point);
  SLUICE_NEEDS(mount);
  const std::string path = point + "/a.img";
  make_file(path, (1 << 20) + 512);
  EXPECT_EQ(LiveStack(path).geometry().logical_block_bytes, 4096U);
  const LogCapture log;
  LiveStack stack("loop(" + path + ", block=512)");
  EXPECT_THAT(log.text(),
              HasSubstr("last 512 bytes are left out, its size is no multiple of 4096"));
  EXPECT_EQ(stack.geometry().size_bytes, 1U << 20);
  EXPECT_TRUE(stack.write(512, Block(8192, 'x'), /*fua=*/true).ok());
  const Block back(8192, 'y');
  EXPECT_TRUE(stack.read(512, back).ok());
  EXPECT_TRUE(back.all('x'));
  EXPECT_TRUE(stack.read(8704, back).ok());
  EXPECT_TRUE(back.all(0));
}

TEST_F(LoopMount, XfsIsServedDirectly) {
  const std::string image = directory_.file("fs.img", 512 << 20);
  const std::string point = directory_.path("mnt");
  mkdir(point.c_str(), 0755);
  const Undoable mount("mkfs.xfs -q " + image + mounted(image, point), "umount " + point);
  SLUICE_NEEDS(mount);
  const std::string path = point + "/a.img";
  make_file(path, 1 << 20);
  const LogCapture log;
  LiveStack stack(path);
  EXPECT_TRUE(stack.write(0, Block(1 << 20, 'x'), /*fua=*/true).ok());
  EXPECT_TRUE(stack.without_data(Op::write_zeroes, 0, 65536, /*may_unmap=*/false).ok());
  EXPECT_TRUE(stack.without_data(Op::discard, 65536, 65536).ok());
  const Block back(131072, 'y');
  EXPECT_TRUE(stack.read(0, back).ok());
  EXPECT_TRUE(back.all(0));
  EXPECT_EQ(log.text(), "");
}

}  // namespace
}  // namespace sluice::test
