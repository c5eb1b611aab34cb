// READs that go from the page cache to the socket: the right bytes, without copies, and nobody
// waits for a client that does not take them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <iterator>

#include "frontend/nbd/cached_file.hpp"
#include "unit/frontend/nbd/export_rig.hpp"

namespace sluice::nbd::test {
namespace {

constexpr uint32_t kLong = 256 << 10;

uint64_t copied_bytes(const Session<NbdExport>& session) {
  return const_cast<Session<NbdExport>&>(session).frontend().reports().at(0).copied_bytes;
}

size_t open_descriptors() {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                                           std::filesystem::directory_iterator()));
}

struct CachedReadsTest : NbdExportTest {
  // With data everywhere: a hole of a file in memory is not in the page cache.
  void serve_data() {
    serve("mem:4M");
    data = bytes_of(kSize, 1);
    ASSERT_EQ(client().write(0, data), 0);
  }
  void expect_read(NbdClient& from, uint64_t offset, uint64_t length) {
    const auto reply = from.read(offset, length);
    ASSERT_EQ(reply.error, 0);
    const auto begin = data.begin() + static_cast<ptrdiff_t>(offset);
    EXPECT_TRUE(
        std::ranges::equal(std::ranges::subrange(begin, begin + ptrdiff_t(length)), reply.data))
        << offset << " " << length;
  }

  std::vector<std::byte> data;
};

TEST_F(CachedReadsTest, AreNotCopied) {
  serve_data();
  const uint64_t before = copied_bytes(*session);
  for (const Headers headers : {Headers::simple, Headers::structured, Headers::extended}) {
    NbdClient one = client(headers);
    expect_read(one, 0, kLong);
    expect_read(one, 12345, kLong);
    expect_read(one, kSize - 65537, 65537);
    expect_read(one, 1, (1 << 20) - 4096);
  }
  EXPECT_EQ(copied_bytes(*session), before);
  NbdClient one = client();
  expect_read(one, 0, 4096);
  EXPECT_EQ(copied_bytes(*session), before + 4096) << "short ones are";
  expect_read(one, 0, 2 << 20);
  EXPECT_GT(copied_bytes(*session), before + 4096) << "and those that no pipe holds";
}

TEST_F(CachedReadsTest, SeeEveryCompletedWrite) {
  serve_data();
  NbdClient one = client();
  NbdClient other = client();
  for (int i = 0; i < 50; ++i) {
    const auto fresh = bytes_of(kLong, 100 + i);
    ASSERT_EQ(other.write(4096, fresh), 0);
    ASSERT_EQ(one.read(4096, kLong).data, fresh);
  }
}

TEST_F(CachedReadsTest, ManyAtATimeComeWhole) {
  serve_data();
  for (const Headers headers : {Headers::simple, Headers::extended}) {
    NbdClient one = client(headers);
    constexpr uint64_t kCount = 40;
    // A simple reply does not say how long it is.
    const auto length = [&](uint64_t i) {
      return headers == Headers::simple || i % 3 != 0 ? uint64_t{kLong} : 512;
    };
    std::thread asker([&] {
      for (uint64_t i = 0; i < kCount; ++i) {
        one.ask({.command = Command::read, .cookie = i, .offset = i * 1000, .length = length(i)});
      }
    });
    for (uint64_t i = 0; i < kCount; ++i) {
      const auto reply = one.reply(kLong);
      ASSERT_TRUE(reply);
      ASSERT_EQ(reply->error, 0);
      const auto begin = data.begin() + static_cast<ptrdiff_t>(reply->cookie * 1000);
      ASSERT_EQ(reply->data.size(), length(reply->cookie));
      ASSERT_TRUE(std::equal(reply->data.begin(), reply->data.end(), begin)) << reply->cookie;
    }
    asker.join();
  }
}

// T1.21: not even if it holds the pipe of its connection. Its end leaves nothing open.
TEST_F(CachedReadsTest, AClientThatDoesNotReadDelaysNobody) {
  serve_data();
  expect_read(*std::make_unique<NbdClient>(client()), 0, kLong);
  usleep(100'000);
  const size_t before = open_descriptors();
  {
    NbdClient slow = client();
    for (uint64_t i = 0; i < 8; ++i) slow.ask({.cookie = i, .length = kLong});
    NbdClient one = client();
    for (int i = 0; i < 20; ++i) expect_read(one, 100, kLong);
    EXPECT_EQ(slow.reply()->data.size(), kLong) << "it goes on when it reads";
  }
  for (int i = 0; i < 200 && open_descriptors() > before; ++i) usleep(10'000);
  EXPECT_LE(open_descriptors(), before);
  EXPECT_TRUE(session->end()) << "whoever holds a pipe at the end is given up";
  session.reset();
}

TEST_F(CachedReadsTest, AFileIsNotReadFromTheDiskHere) {
  const std::string path = directory.file("disk.img", kSize);
  auto stack = std::move(*sluice::test::open_stack("loop(" + path + ", buffered_io=1)"));
  const auto file = CachedFile::of(stack->disk());
  ASSERT_NE(file, nullptr);
  const Descriptor own(open(path.c_str(), O_RDWR | O_CLOEXEC));
  const auto some = bytes_of(kLong, 1);
  ASSERT_EQ(pwrite(own.number(), some.data(), some.size(), 4096), kLong);
  EXPECT_TRUE(file->has(4096, kLong));
  EXPECT_FALSE(file->has(kSize - kLong, kLong)) << "nothing has read it";
  ASSERT_EQ(ftruncate(own.number(), 8192), 0);
  EXPECT_FALSE(file->has(4096, kLong));
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const Descriptor in(ends[0]);
  const Descriptor out(ends[1]);
  EXPECT_FALSE(file->add_to(out.number(), 4096, 65536 - 4096)) << "the file ends before";
  ASSERT_EQ(ftruncate(own.number(), int64_t{3} << 30), 0);
  ASSERT_EQ(pwrite(own.number(), some.data(), some.size(), int64_t{2} << 30), kLong);
  EXPECT_TRUE(file->has(uint64_t{2} << 30, kLong)) << "beyond what was mapped at first";
}

TEST_F(CachedReadsTest, DirectIoGoesAroundThePageCache) {
  auto stack = std::move(*sluice::test::open_stack(directory.file("disk.img", kSize)));
  const auto file = stack->root().bare_file();
  ASSERT_TRUE(file);
  if (file->through_page_cache) GTEST_SKIP() << "this file system takes no direct I/O";
  EXPECT_EQ(CachedFile::of(stack->disk()), nullptr);
  auto null = std::move(*sluice::test::open_stack("null:4M"));
  EXPECT_EQ(CachedFile::of(null->disk()), nullptr);
}

// The kernel tells a process that may only read that every page is in the cache.
TEST_F(CachedReadsTest, WhoMayNotKnowDoesNotGuess) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const std::string path = directory.file("disk.img", kSize);
  auto stack =
      std::move(*sluice::test::open_stack("loop(" + path + ", buffered_io=1)", /*read_only=*/true));
  ASSERT_NE(CachedFile::of(stack->disk()), nullptr);
  const pid_t child = fork();
  if (child == 0) {
    if (chmod(directory.path("").c_str(), 0755) != 0 || setresuid(65534, 65534, 65534) != 0)
      _exit(2);
    _exit(CachedFile::of(stack->disk()) == nullptr ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace sluice::nbd::test
