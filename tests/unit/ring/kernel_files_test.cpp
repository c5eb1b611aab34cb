// Operations on real files and pipes.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <memory>

#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"
#include "unit/ring/kernel_ring_fixture.hpp"

namespace sluice::test {
namespace {

using KernelFilesTest = OnKernelRing;

// Memory that O_DIRECT accepts.
struct AlignedBytes {
  explicit AlignedBytes(size_t count)
      : place(static_cast<std::byte*>(std::aligned_alloc(4096, count)), &std::free),
        bytes(place.get(), count) {
    std::ranges::fill(bytes, std::byte{});
  }
  std::unique_ptr<std::byte, decltype(&std::free)> place;
  std::span<std::byte> bytes;
};

std::optional<Descriptor> direct_file(const Bytes& content) {
  try {
    return temporary_file(content, O_DIRECT);
  } catch (const std::system_error&) {
    return std::nullopt;
  }
}

TEST_F(KernelFilesTest, AReadFillsItsRange) {
  const Bytes content = pattern(10000, 1);
  const Descriptor file = temporary_file(content);
  Bytes memory = repeated(8192, 0xee);
  Lent lent(Direction::destination, memory);
  const Started reading(ring(), lent.loan.view(1000, 5000), read_from(file_of(file), 123));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(part(memory, 1000, 5000), part(content, 123, 5000));
  EXPECT_TRUE(all_are(part(memory, 0, 1000), 0xee));
  EXPECT_TRUE(all_are(part(memory, 6000, 2192), 0xee));
  EXPECT_EQ(lent.loan.filled_bytes(), 5000U);
}

TEST_F(KernelFilesTest, AWriteArrives) {
  const Descriptor file = temporary_file();
  Bytes memory = pattern(8192, 1);
  Lent lent(Direction::source, memory);
  const Started writing(ring(), lent.loan.view(1000, 5000), write_to(file_of(file), 77));
  EXPECT_EQ(finish(writing), 0);
  EXPECT_EQ(content_of(file, 8192, 77), part(memory, 1000, 5000));
}

TEST_F(KernelFilesTest, ADurableWriteArrives) {
  const Descriptor file = temporary_file();
  Bytes memory = pattern(4096, 1);
  Lent lent(Direction::source, memory);
  const Started writing(ring(), lent.loan.view(), write_to(file_of(file), 0, true));
  EXPECT_EQ(finish(writing), 0);
  EXPECT_EQ(content_of(file, 4096), memory);
}

TEST_F(KernelFilesTest, ARegisteredFileIsReadByItsSlot) {
  const Bytes content = pattern(4096, 1);
  const Descriptor other = temporary_file();
  const Descriptor file = temporary_file(content);
  const std::array files{other.number(), file.number()};
  open({.files = files});
  Bytes memory(4096);
  Lent lent(Direction::destination, memory);
  const Started reading(ring(), lent.loan.view(), read_from({.number = 1, .registered = true}, 0));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(memory, content);
}

TEST_F(KernelFilesTest, TheEndOfAFileIsNoData) {
  const Descriptor file = temporary_file(pattern(1000, 1));
  Bytes memory(4096);
  Lent lent(Direction::destination, memory);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(file), 0));
  EXPECT_EQ(finish(reading), ENODATA);
  EXPECT_EQ(reading.moved_bytes(), 1000U);
  EXPECT_EQ(lent.loan.filled_bytes(), 1000U);
}

TEST_F(KernelFilesTest, NoFileIsABadFile) {
  Bytes memory(4096);
  Lent lent(Direction::destination, memory);
  const Started reading(ring(), lent.loan.view(), read_from({}, 0));
  EXPECT_EQ(finish(reading), EBADF);
}

TEST_F(KernelFilesTest, AFullDeviceIsNoSpace) {
  const Descriptor full = opened(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  Bytes memory(4096);
  Lent lent(Direction::source, memory);
  const Started writing(ring(), lent.loan.view(), write_to(file_of(full), 0));
  EXPECT_EQ(finish(writing), ENOSPC);
}

TEST_F(KernelFilesTest, ScatteredPiecesAreReadInTheirOrder) {
  const Bytes content = pattern(3000, 1);
  const Descriptor file = temporary_file(content);
  Bytes memory = repeated(8192, 0xee);
  Lent lent(Direction::destination, memory);
  Arena arena;
  const std::array<Segment, 3> pieces{{{4000, 1000}, {0, 1500}, {8000, 100}}};
  const Started reading(ring(), lent.loan.view().select(pieces, arena),
                        read_from(file_of(file), 10));
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(part(memory, 4000, 1000), part(content, 10, 1000));
  EXPECT_EQ(part(memory, 0, 1500), part(content, 1010, 1500));
  EXPECT_EQ(part(memory, 8000, 100), part(content, 2510, 100));
}

TEST_F(KernelFilesTest, ThousandsOfPiecesAreWrittenInTheirOrder) {
  const Descriptor file = temporary_file();
  Bytes memory = pattern(3000 * 16, 1);
  Lent lent(Direction::source, memory);
  Arena arena;
  std::vector<Segment> pieces;
  Bytes expected;
  for (uint32_t i = 3000; i-- > 0;) {
    pieces.push_back({i * 16, 9});
    const Bytes piece = part(memory, size_t{i} * 16, 9);
    expected.insert(expected.end(), piece.begin(), piece.end());
  }
  const Started writing(ring(), lent.loan.view().select(pieces, arena), write_to(file_of(file), 0));
  EXPECT_EQ(finish(writing), 0);
  EXPECT_EQ(content_of(file, 30000), expected);
}

TEST_F(KernelFilesTest, DirectFilesAreReadAndWritten) {
  const auto file = direct_file(pattern(65536, 1));
  if (!file) GTEST_SKIP() << "no O_DIRECT in the temporary folder";
  AlignedBytes memory(65536);
  {
    Lent lent(Direction::destination, memory.bytes);
    const Started reading(ring(), lent.loan.view(4096, 8192), read_from(file_of(*file), 16384));
    EXPECT_EQ(finish(reading), 0);
    EXPECT_EQ(part(memory.bytes, 4096, 8192), part(pattern(65536, 1), 16384, 8192));
  }
  Lent lent(Direction::source, memory.bytes);
  const Started writing(ring(), lent.loan.view(4096, 8192), write_to(file_of(*file), 0, true));
  EXPECT_EQ(finish(writing), 0);
  const Descriptor same = opened(
      ::open(("/proc/self/fd/" + std::to_string(file->number())).c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(content_of(same, 8192), part(pattern(65536, 1), 16384, 8192));
}

// Most file systems refuse it, tmpfs accepts it: the result is that of the file.
TEST_F(KernelFilesTest, UnalignedMemoryOfADirectFileIsNotRepairedWithACopy) {
  const auto file = direct_file(pattern(65536, 1));
  if (!file) GTEST_SKIP() << "no O_DIRECT in the temporary folder";
  AlignedBytes memory(65536);
  const ssize_t direct = pread(file->number(), memory.bytes.data() + 1, 4095, 0);
  const int expected = direct < 0 ? errno : 0;
  Lent lent(Direction::destination, memory.bytes);
  const Started reading(ring(), lent.loan.view(1, 4095), read_from(file_of(*file), 0));
  EXPECT_EQ(finish(reading), expected);
  EXPECT_EQ(lent.loan.filled_bytes(), expected == 0 ? 4095U : 0U);
}

TEST_F(KernelFilesTest, SyncSucceeds) {
  const Descriptor file = temporary_file(pattern(4096, 1));
  for (const bool data_only : {true, false}) {
    const Started syncing(
        ring(), [&](Request& request) { return request.ring->sync(file_of(file), data_only); });
    EXPECT_EQ(finish(syncing), 0);
  }
}

TEST_F(KernelFilesTest, SyncOfAPipeIsRefused) {
  const Pair pipe = pipe_ends();
  const Started syncing(
      ring(), [&](Request& request) { return request.ring->sync(file_of(pipe.far), true); });
  EXPECT_EQ(finish(syncing), EINVAL);
}

TEST_F(KernelFilesTest, FallocatePunchesHoles) {
  const Descriptor file = temporary_file(repeated(65536, 0xee));
  const Started punching(ring(), [&](Request& request) {
    return request.ring->fallocate(file_of(file), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192,
                                   16384);
  });
  if (finish(punching) == EOPNOTSUPP) GTEST_SKIP() << "no holes in the temporary folder";
  EXPECT_EQ(punching.error(), 0);
  EXPECT_TRUE(all_are(content_of(file, 16384, 8192), 0));
  EXPECT_TRUE(all_are(content_of(file, 8192, 0), 0xee));
  EXPECT_TRUE(all_are(content_of(file, 40960, 24576), 0xee));
}

TEST_F(KernelFilesTest, DiscardOfAFileThatIsNoDeviceIsRefused) {
  const Descriptor file = temporary_file(repeated(4096, 0xee));
  const Started discarding(
      ring(), [&](Request& request) { return request.ring->discard(file_of(file), 0, 4096); });
  EXPECT_NE(finish(discarding), 0);
  EXPECT_TRUE(all_are(content_of(file, 4096), 0xee));
}

TEST_F(KernelFilesTest, APipeIsReadUntilTheViewIsFull) {
  const Pair pipe = pipe_ends();
  const Bytes content = pattern(1000, 1);
  Bytes memory(1000);
  Lent lent(Direction::destination, memory);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(pipe.near), 0));
  for (size_t offset = 0; offset < 1000; offset += 250) {
    settle();
    EXPECT_FALSE(reading.finished());
    EXPECT_EQ(lent.loan.filled_bytes(), offset);
    ASSERT_EQ(write(pipe.far.number(), content.data() + offset, 250), 250);
  }
  EXPECT_EQ(finish(reading), 0);
  EXPECT_EQ(memory, content);
}

TEST_F(KernelFilesTest, APipeThatEndsIsNoData) {
  Pair pipe = pipe_ends();
  Bytes memory(1000);
  Lent lent(Direction::destination, memory);
  const Started reading(ring(), lent.loan.view(), read_from(file_of(pipe.near), 0));
  ASSERT_EQ(write(pipe.far.number(), "abc", 3), 3);
  pipe.far = {};
  EXPECT_EQ(finish(reading), ENODATA);
  EXPECT_EQ(lent.loan.filled_bytes(), 3U);
}

TEST_F(KernelFilesTest, AFullPipeParksTheWriteUntilItIsRead) {
  const Pair pipe = pipe_ends();
  Bytes memory = pattern(1 << 18, 1);
  Lent lent(Direction::source, memory);
  const Started writing(ring(), lent.loan.view(), write_to(file_of(pipe.far), 0));
  Bytes got;
  while (got.size() < memory.size()) {
    settle();
    Bytes piece(1 << 16);
    const ssize_t count = read(pipe.near.number(), piece.data(), piece.size());
    ASSERT_GT(count, 0);
    got.insert(got.end(), piece.begin(), piece.begin() + count);
  }
  EXPECT_EQ(finish(writing), 0);
  EXPECT_EQ(got, memory);
}

}  // namespace
}  // namespace sluice::test
