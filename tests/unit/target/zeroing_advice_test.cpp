// Requests that may be refused or ignored: write zeroes that must be fast, and prefetch.
#include <fcntl.h>
#include <sys/mman.h>

#include "frontend/direct/device.hpp"
#include "support/manual_ring.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::test {
namespace {

struct Served {
  explicit Served(std::string_view spec)
      : stack(std::move(*open_stack(spec))),
        device(std::move(*direct::Device::create(*stack, {.queues = 1, .depth = 4}))) {}

  std::unique_ptr<Stack> stack;
  std::unique_ptr<direct::Device> device;
};

TEST(FastZeroes, AreDoneWhereTheyAreFast) {
  const TempDir directory;
  const std::string file = directory.file("a", 1 << 20);
  for (const std::string& spec :
       {std::string("null:1M"), std::string("mem:1M"), file, "linear(" + file + ", mem:1M)"}) {
    const Served served(spec);
    const Block ones(8192, 1);
    ASSERT_TRUE(served.device->write(4096, ones.bytes()).ok()) << spec;
    EXPECT_TRUE(served.device->write_zeroes(4096, 8192, /*fast_only=*/true).ok()) << spec;
    const Block read(8192, 'x');
    ASSERT_TRUE(served.device->read(4096, read.bytes()).ok()) << spec;
    EXPECT_TRUE(read.all(0)) << spec;
  }
}

// A file system without either form of fallocate, as a ring reports it.
TEST(FastZeroes, AreRefusedWhereTheyWouldBeWritten) {
  for (const bool fast_only : {true, false}) {
    ManualRing ring;
    TestTag tag(ring);
    auto stack = std::move(*open_stack("mem:1M"));
    Request& request = tag.make(Op::write_zeroes, 0, uint64_t{4096});
    request.fast_only = fast_only;
    Task task = stack->submit(request);
    ring.settle();
    for (int i = 0; i < 2; ++i) {
      ASSERT_EQ(ring.pending(), 1U);
      EXPECT_EQ(ring.sqe(0).opcode, IORING_OP_FALLOCATE);
      ring.complete(0, -EOPNOTSUPP);
    }
    if (fast_only) {
      ASSERT_EQ(ring.pending(), 0U) << "nothing is written";
      EXPECT_EQ(task.status().error(), EOPNOTSUPP);
      continue;
    }
    ASSERT_EQ(ring.pending(), 1U);
    EXPECT_NE(ring.sqe(0).opcode, IORING_OP_FALLOCATE);
    ring.complete(0, 4096);
    EXPECT_TRUE(task.status().ok());
  }
}

// The pages of a file that are in the page cache.
size_t cached_pages(const std::string& path, size_t bytes) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  void* const place = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.number(), 0);
  std::vector<unsigned char> resident(bytes / 4096);
  mincore(place, bytes, resident.data());
  munmap(place, bytes);
  return static_cast<size_t>(
      std::ranges::count_if(resident, [](unsigned char page) { return (page & 1) != 0; }));
}

TEST(Prefetch, ReadsAFileIntoThePageCache) {
  const TempDir directory(".");  // tmpfs has nothing to read from
  const std::string path = directory.path("a");
  constexpr size_t kBytes = 1 << 20;
  ASSERT_EQ(run_command("head -c 1M /dev/urandom > " + path + " && sync " + path +
                        " && dd if=" + path + " iflag=nocache count=0 status=none")
                .code,
            0);
  if (cached_pages(path, kBytes) != 0) GTEST_SKIP() << "this file system does not drop its cache";
  const Served served("loop(" + path + ", buffered_io)");
  EXPECT_TRUE(served.device->prefetch(0, kBytes / 2).ok());
  for (int tries = 0; tries < 200 && cached_pages(path, kBytes) < kBytes / 2 / 4096; ++tries) {
    usleep(10'000);  // the kernel reads it in the background
  }
  EXPECT_GE(cached_pages(path, kBytes), kBytes / 2 / 4096);
}

TEST(Prefetch, IsIgnoredWhereItIsOfNoUse) {
  const TempDir directory;
  const std::string file = directory.file("a", 1 << 20);
  const std::vector<std::string> specs = {"null:1M", file, "stripe(" + file + ", mem:1M)",
                                          "verify(mem:1M, mem:1M)",
                                          "fault(mem:1M, cache=volatile)"};
  for (const std::string& spec : specs) {
    const Served served(spec);
    EXPECT_TRUE(served.device->prefetch(0, 1 << 20).ok()) << spec;
    EXPECT_EQ(served.device->prefetch(1 << 30, 4096).error(), EINVAL) << spec;
  }
}

TEST(Prefetch, ChangesNothingSoThatAReadOnlyOrFailedStackTakesIt) {
  const TempDir directory;
  LiveStack read_only(directory.file("a", 1 << 20), /*read_only=*/true);
  EXPECT_TRUE(read_only.without_data(Op::prefetch, 0, 4096).ok());
  EXPECT_EQ(read_only.without_data(Op::discard, 0, 4096).error(), EROFS);
  LiveStack failed("mem:1M");
  failed.stack().note_failure();
  EXPECT_TRUE(failed.without_data(Op::prefetch, 0, 4096).ok());
  EXPECT_EQ(failed.without_data(Op::discard, 0, 4096).error(), EIO);
  EXPECT_EQ(failed.flush().error(), EIO);
}

}  // namespace
}  // namespace sluice::test
