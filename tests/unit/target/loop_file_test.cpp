// loop on real files and a real ring: written bytes are in the file, at the right offset.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

std::string bytes_of(const std::string& path, uint64_t offset, size_t length) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  std::string bytes(length, '?');
  file.read(bytes.data(), static_cast<std::streamsize>(length));
  return bytes.substr(0, static_cast<size_t>(file.gcount()));
}

// The number of threads that the kernel has started for requests of thread `owner` that would
// block.
int worker_threads_of(pid_t owner) {
  int count = 0;
  const std::string name = "iou-wrk-" + std::to_string(owner);
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string comm;
    std::getline(std::ifstream(task.path() / "comm"), comm);
    if (comm == name) ++count;
  }
  return count;
}

void check_round_trip(const std::string& spec, const std::string& path, uint64_t begin) {
  LiveStack stack(spec);
  EXPECT_TRUE(stack.write(8192, Block(4096, 'a')).ok());
  EXPECT_TRUE(stack.write(12288, Block(4096, 'b'), /*fua=*/true).ok());
  EXPECT_TRUE(stack.flush().ok());
  const Block back(8192);
  EXPECT_TRUE(stack.read(8192, back).ok());
  EXPECT_EQ(std::memcmp(back.bytes().data(), std::string(4096, 'a').data(), 4096), 0);
  EXPECT_EQ(bytes_of(path, begin + 8192, 8192), std::string(4096, 'a') + std::string(4096, 'b'));
}

TEST(LoopFile, WritesAndReadsWhereItShould) {
  const TempDir directory;
  const std::string path = directory.file("a.img", 1 << 20);
  check_round_trip("loop(" + path + ")", path, 0);
  check_round_trip("loop(" + path + ", offset=64k, size=128k)", path, 65536);
  check_round_trip("loop(" + path + ", buffered_io)", path, 0);
}

TEST(LoopFile, ServesItsRangeOnly) {
  const TempDir directory;
  LiveStack stack("loop(" + directory.file("a.img", 1 << 20) + ", offset=64k, size=128k)");
  EXPECT_EQ(stack.geometry().size_bytes, 128U << 10);
  EXPECT_TRUE(stack.read((128 << 10) - 4096, Block(4096)).ok());
  EXPECT_EQ(stack.read(128 << 10, Block(4096)).error(), EINVAL);
}

TEST(LoopFile, LeavesOutAnIncompleteBlockAndSaysSo) {
  const TempDir directory;
  const std::string path = directory.file("a.img", 1049000);  // 1 MiB and 424 bytes
  const LogCapture log;
  EXPECT_EQ(LiveStack("loop(" + path + ", buffered_io)").geometry().size_bytes, 1U << 20);
  EXPECT_NE(log.text().find("last 424 bytes"), std::string::npos) << log.text();
}

TEST(LoopFile, GeometryIsThatOfTheFile) {
  const TempDir directory;
  const std::string path = directory.file("a.img", 1 << 20);
  const Geometry direct = LiveStack("loop(" + path + ")").geometry();
  EXPECT_TRUE(direct.volatile_cache);
  EXPECT_TRUE(direct.can_fua);
  EXPECT_TRUE(direct.can_discard);
  EXPECT_TRUE(direct.can_write_zeroes);
  EXPECT_FALSE(direct.read_only);
  EXPECT_FALSE(direct.needs_bytes);
  EXPECT_GE(direct.physical_block_bytes, direct.logical_block_bytes);

  const Geometry buffered = LiveStack("loop(" + path + ", buffered_io)").geometry();
  EXPECT_EQ(buffered.logical_block_bytes, 512U);
  EXPECT_EQ(buffered.memory_alignment_bytes, 1U);

  const Geometry shifted = LiveStack("loop(" + path + ", buffered_io, offset=1k)").geometry();
  EXPECT_EQ(shifted.physical_block_bytes, 1024U) << "larger blocks would not be aligned";
}

TEST(LoopFile, DiscardFreesBlocksAndReadsBackZeroes) {
  const TempDir directory;
  const std::string path = directory.file("a.img", 1 << 20);
  LiveStack stack("loop(" + path + ")");
  EXPECT_TRUE(stack.write(0, Block(1 << 20, 'd')).ok());
  EXPECT_TRUE(stack.flush().ok());
  const uint64_t full = allocated_bytes(path);
  const Status discarded = stack.without_data(Op::discard, 0, 1 << 19);
  if (discarded.error() == EOPNOTSUPP) GTEST_SKIP() << "no holes in files of this file system";
  EXPECT_TRUE(discarded.ok());
  EXPECT_EQ(allocated_bytes(path), full - (1 << 19));
  const Block back(4096, 'x');
  EXPECT_TRUE(stack.read(0, back).ok());
  EXPECT_TRUE(back.all(0));
}

TEST(LoopFile, WriteZeroesFreesOnlyWhereItMay) {
  const TempDir directory;
  const std::string path = directory.file("a.img", 1 << 20);
  LiveStack stack("loop(" + path + ")");
  EXPECT_TRUE(stack.write(0, Block(1 << 20, 'z')).ok());
  EXPECT_TRUE(stack.flush().ok());
  const uint64_t full = allocated_bytes(path);
  const Block back(1 << 18, 'x');
  EXPECT_TRUE(stack.without_data(Op::write_zeroes, 0, 1 << 18, /*may_unmap=*/false).ok());
  EXPECT_TRUE(stack.read(0, back).ok());
  EXPECT_TRUE(back.all(0));
  EXPECT_GE(allocated_bytes(path), full);
  EXPECT_TRUE(stack.without_data(Op::write_zeroes, 0, 1 << 18, /*may_unmap=*/true).ok());
  EXPECT_LT(allocated_bytes(path), full);
  EXPECT_TRUE(stack.read(1 << 18, back).ok());
  EXPECT_TRUE(back.all('z'));
}

TEST(LoopFile, AFileThatShrankIsAnErrorAndNotZeroes) {
  for (const char* options : {"", ", buffered_io"}) {
    for (const off_t size : {8192, 8192 + 512, 8192 + 100}) {
      const TempDir directory;
      const std::string path = directory.file("a.img", 1 << 20);
      LiveStack stack("loop(" + path + options + ")");
      ASSERT_EQ(truncate(path.c_str(), size), 0);
      const LogCapture log;
      EXPECT_TRUE(stack.read(0, Block(8192)).ok());
      EXPECT_EQ(stack.read(4096, Block(8192)).error(), EIO) << options << size;
      EXPECT_EQ(stack.read(1 << 19, Block(4096)).error(), EIO) << options << size;
      EXPECT_EQ(log.lines(), 1U) << log.text();
    }
  }
}

TEST(LoopFile, ReadOnlyRefusesChangesAndDoesNotNeedWritePermission) {
  const TempDir directory;
  const std::string path = directory.file("a.img", 1 << 20);
  chmod(path.c_str(), 0444);
  for (const bool by_option : {true, false}) {
    LiveStack stack(by_option ? "loop(" + path + ", read_only)" : path, !by_option);
    EXPECT_TRUE(stack.geometry().read_only);
    EXPECT_EQ(fcntl(stack.stack().files()[0], F_GETFL) & O_ACCMODE, O_RDONLY);
    EXPECT_TRUE(stack.read(0, Block(4096)).ok());
    EXPECT_TRUE(stack.flush().ok());
    EXPECT_EQ(stack.write(0, Block(4096)).error(), EROFS);
    EXPECT_EQ(stack.without_data(Op::discard, 0, 4096).error(), EROFS);
    EXPECT_EQ(stack.without_data(Op::write_zeroes, 0, 4096).error(), EROFS);
  }
}

TEST(LoopFile, SeveralQueuesShareOneFile) {
  const TempDir directory;
  auto stack = open_stack(directory.file("a.img", 4 << 20));
  ASSERT_TRUE(stack) << stack.error().text;
  const auto work = [&stack](uint64_t begin, int fill) {
    LiveQueue queue(**stack);
    const Block back(65536);
    for (uint64_t offset = begin; offset < begin + (1 << 20); offset += 65536) {
      EXPECT_TRUE(queue.write(offset, Block(65536, fill)).ok());
      EXPECT_TRUE(queue.flush().ok());
      EXPECT_TRUE(queue.read(offset, back).ok());
      EXPECT_TRUE(back.all(fill));
      EXPECT_TRUE(queue.without_data(Op::write_zeroes, offset, 65536).ok());
    }
  };
  std::thread other(work, 2 << 20, 'o');
  work(0, 't');
  other.join();
}

// Otherwise each request costs two context switches: see settle_direct_io() in backing_file.cpp.
TEST(LoopFile, MemoryFilesAreServedWithoutWorkerThreads) {
  if (!std::filesystem::exists("/dev/shm")) GTEST_SKIP() << "needs a tmpfs at /dev/shm";
  const TempDir directory("/dev/shm");
  const std::string path = directory.file("a.img", 1 << 20);
  if (!Descriptor(open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC)).valid()) {
    GTEST_SKIP() << "needs direct I/O on tmpfs (Linux 6.6)";
  }
  for (const std::string& spec : {"loop(" + path + ")", std::string("mem:1M")}) {
    std::thread([&spec] {
      LiveStack stack(spec);
      for (uint64_t i = 0; i < 100; ++i) {
        EXPECT_TRUE(stack.write(i * 4096, Block(4096, 't'), /*fua=*/i % 2 == 0).ok());
        EXPECT_TRUE(stack.read(i * 4096, Block(4096)).ok());
      }
      EXPECT_EQ(worker_threads_of(gettid()), 0) << spec;
    }).join();
  }
}

TEST(LoopFile, MemoryFilesWorkInEveryMode) {
  if (!std::filesystem::exists("/dev/shm")) GTEST_SKIP() << "needs a tmpfs at /dev/shm";
  const TempDir directory("/dev/shm");
  const std::string path = directory.file("a.img", 1 << 20);
  check_round_trip("loop(" + path + ")", path, 0);
  check_round_trip("loop(" + path + ", buffered_io)", path, 0);
  check_round_trip("loop(" + path + ", offset=512)", path, 512);
}

}  // namespace
}  // namespace sluice::test
