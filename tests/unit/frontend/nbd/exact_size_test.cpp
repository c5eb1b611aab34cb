// Files of any number of bytes: each byte is served, nothing behind them is, and no file changes
// its size.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "unit/frontend/nbd/handover_rig.hpp"

namespace sluice::nbd::test {
namespace {

using Data = std::vector<std::byte>;

struct NbdExactSizeTest : NbdHandoverTest {
  // With random data. The spec is `before`, the path and `after`.
  void begin_file(uint64_t bytes, const std::string& before = {}, const std::string& after = {},
                  uint16_t queues = 1) {
    if (session) EXPECT_TRUE(session->end());
    session.reset();
    stack.reset();
    model = bytes_of(bytes, static_cast<int>(bytes));
    put(model);
    begin(before + file + after, queues);
  }
  void put(const Data& data) const {
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(data.data()),
               static_cast<std::streamsize>(data.size()));
  }
  Data content() const {
    std::ifstream in(file, std::ios::binary);
    const std::string all((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    Data bytes(all.size());
    std::ranges::transform(all, bytes.begin(), [](char each) { return std::byte(each); });
    return bytes;
  }
  void expect_file(const Data& expected) {
    EXPECT_EQ(client().command(Command::flush, 0, 0).error, 0);
    EXPECT_EQ(std::filesystem::file_size(file), expected.size());
    EXPECT_TRUE(content() == expected);
  }
  Data part(uint64_t offset, uint64_t length) const {
    const auto begin = model.begin() + static_cast<ptrdiff_t>(offset);
    return {begin, begin + static_cast<ptrdiff_t>(length)};
  }

  const std::string file = directory.path("odd.img");
  Data model;
};

constexpr uint64_t kSizes[] = {1, 2, 511, 512, 513, 1000, 1024, 4095, 4097, 10'000};

TEST_F(NbdExactSizeTest, EveryByteIsReadAndWritten) {
  for (const uint64_t size : kSizes) {
    SCOPED_TRACE(size);
    begin_file(size);
    NbdClient one = client();
    ASSERT_EQ(one.agreed().size, size);
    ASSERT_EQ(one.read(0, size).data, model);
    for (uint64_t offset = 0; offset < size; ++offset) {
      ASSERT_EQ(one.read(offset, 1).data, part(offset, 1)) << offset;
      model[offset] = static_cast<std::byte>(offset * 7 + 1);
      ASSERT_EQ(one.write(offset, part(offset, 1)), 0) << offset;
    }
    ASSERT_EQ(one.read(0, size).data, model);
    expect_file(model);
  }
}

TEST_F(NbdExactSizeTest, NothingBehindTheEndIsServed) {
  begin_file(1000);
  NbdClient one = client();
  for (const auto& [offset, length] :
       {std::pair<uint64_t, uint64_t>{1000, 1}, {999, 2}, {512, 512}, {0, 1001}, {1023, 1}}) {
    EXPECT_EQ(one.read(offset, length).error, EINVAL);
    EXPECT_EQ(one.write(offset, Data(length)), ENOSPC);
    EXPECT_EQ(one.command(Command::write_zeroes, offset, length).error, ENOSPC);
    EXPECT_EQ(one.command(Command::trim, offset, length).error, EINVAL);
    EXPECT_EQ(one.command(Command::block_status, offset, length).error, EINVAL);
  }
  expect_file(model);
}

// A model of the export: any range, every command, however the file is read and written.
TEST_F(NbdExactSizeTest, EveryCommandServesTheLastBytes) {
  for (const char* const after : {"", ", buffered_io", ", block=4k", ", buffered_io, block=4k"}) {
    for (const uint64_t size : {1ULL, 513ULL, 1000ULL, 5000ULL, 66'061ULL}) {
      SCOPED_TRACE(std::string(after) + " " + std::to_string(size));
      begin_file(size, "loop(", std::string(after) + ")");
      std::minstd_rand random(static_cast<unsigned>(size));
      NbdClient one = client();
      for (int i = 0; i < 300; ++i) {
        const bool to_the_end = random() % 2 == 0;
        const uint64_t offset = random() % size;
        const uint64_t length = to_the_end ? size - offset : 1 + random() % (size - offset);
        const uint16_t fua = random() % 4 == 0 ? uint16_t{kFua} : uint16_t{0};
        const auto begin = model.begin() + static_cast<ptrdiff_t>(offset);
        switch (random() % 7) {
          case 0:
          case 1: {
            const Data data = bytes_of(length, i);
            ASSERT_EQ(one.write(offset, data, fua), 0);
            std::ranges::copy(data, begin);
            break;
          }
          case 2:
            ASSERT_EQ(one.command(Command::write_zeroes, offset, length,
                                  static_cast<uint16_t>(fua | (random() % 2 ? kNoHole : 0)))
                          .error,
                      0);
            std::fill_n(begin, length, std::byte{0});
            break;
          case 3: {
            ASSERT_EQ(one.command(Command::trim, offset, length, fua).error, 0);
            const auto now = one.read(offset, length);
            ASSERT_EQ(now.data.size(), length);
            std::ranges::copy(now.data, begin);
            break;
          }
          case 4:
            ASSERT_EQ(one.command(Command::cache, offset, length).error, 0);
            ASSERT_EQ(one.command(Command::flush, 0, 0).error, 0);
            break;
          default:
            ASSERT_EQ(one.read(offset, length).data, part(offset, length)) << offset;
        }
      }
      expect_file(model);
    }
  }
}

TEST_F(NbdExactSizeTest, BlockStatusEndsWithTheFile) {
  begin_file(1000);
  NbdClient one = client();
  for (const uint64_t offset : {0U, 1U, 512U, 513U, 999U}) {
    const auto reply = one.command(Command::block_status, offset, 1000 - offset);
    ASSERT_EQ(reply.error, 0) << offset;
    ASSERT_EQ(reply.extents.size(), 1U) << offset;
    EXPECT_EQ(reply.extents[0].length, 1000 - offset);
    EXPECT_EQ(reply.extents[0].flags, 0U);
  }
}

TEST_F(NbdExactSizeTest, WritersOfTheLastBlockKeepTheirBytes) {
  constexpr size_t kWriters = 5;
  constexpr size_t kBytes = 97;
  constexpr size_t kTotal = 512 + kWriters * kBytes;
  for (const bool buffered : {false, true}) {
    begin_file(kTotal, "loop(", buffered ? ", buffered_io)" : ")", 3);
    std::vector<std::thread> writers;
    for (size_t i = 0; i < kWriters; ++i) {
      writers.emplace_back([this, i] {
        NbdClient one = client();
        const uint64_t offset = 512 + i * kBytes;
        for (int round = 1; round <= 100; ++round) {
          const Data data(kBytes, static_cast<std::byte>(round));
          EXPECT_EQ(one.write(offset, data), 0);
          EXPECT_EQ(one.read(offset, kBytes).data, data);
        }
      });
    }
    // The whole block before it, which may be on the same page.
    NbdClient one = client();
    for (int round = 1; round <= 200; ++round) {
      const Data data(512, static_cast<std::byte>(round));
      ASSERT_EQ(one.write(0, data), 0);
      ASSERT_EQ(one.read(0, 512).data, data);
    }
    for (std::thread& writer : writers) writer.join();
    Data expected(kTotal, std::byte{100});
    std::fill_n(expected.begin(), 512, std::byte{200});
    expect_file(expected);
  }
}

TEST_F(NbdExactSizeTest, IsReadOnly) {
  put(bytes_of(1000, 1));
  serve(file, /*read_only=*/true);
  NbdClient one = client();
  EXPECT_EQ(one.read(0, 1000).data, bytes_of(1000, 1));
  EXPECT_EQ(one.write(999, Data(1)), EPERM);
  EXPECT_EQ(one.read(999, 1).data, Data{bytes_of(1000, 1).back()});
  EXPECT_EQ(content(), bytes_of(1000, 1));
}

TEST_F(NbdExactSizeTest, GoesFromThePageCacheToTheLastByte) {
  constexpr uint64_t kOdd = (256 << 10) + 1001;
  begin_file(kOdd, "loop(", ", buffered_io)");
  const auto copied = [&] { return session->frontend().reports().at(0).copied_bytes; };
  const uint64_t before = copied();
  NbdClient one = client();
  for (const uint64_t length : {kOdd, kOdd - 1, kOdd - 513, uint64_t{40'001}}) {
    EXPECT_EQ(one.read(kOdd - length, length).data, part(kOdd - length, length)) << length;
  }
  EXPECT_EQ(copied(), before);
  std::filesystem::resize_file(file, kOdd - 1);
  EXPECT_EQ(one.read(0, kOdd).error, EIO) << "never with what is not there";
}

// Growth is seen by later clients; the former end becomes the middle of a block.
TEST_F(NbdExactSizeTest, FollowsTheFile) {
  begin_file(1000);
  NbdClient before = client();
  std::filesystem::resize_file(file, 5000);
  EXPECT_EQ(client().agreed().size, 1000U) << "until it is asked to";
  ASSERT_TRUE(stack->resize(std::nullopt));
  NbdClient after = client();
  EXPECT_EQ(after.agreed().size, 5000U);
  EXPECT_EQ(before.read(1000, 1).error, EINVAL);
  model.resize(5000);
  for (const auto& [offset, data] : {std::pair{998, bytes_of(4, 1)}, {4990, bytes_of(10, 2)}}) {
    ASSERT_EQ(after.write(static_cast<uint64_t>(offset), data), 0);
    std::ranges::copy(data, model.begin() + offset);
  }
  ASSERT_EQ(before.write(600, bytes_of(400, 3)), 0);
  std::ranges::copy(bytes_of(400, 3), model.begin() + 600);
  EXPECT_EQ(after.read(0, 5000).data, model);
  EXPECT_EQ(before.read(0, 1000).data, part(0, 1000));
  expect_file(model);
  std::filesystem::resize_file(file, 4999);
  EXPECT_FALSE(stack->resize(std::nullopt));
  EXPECT_FALSE(stack->check_handover());
  EXPECT_EQ(client().agreed().size, 5000U);
  ASSERT_TRUE(stack->resize(8192));
  EXPECT_EQ(client().agreed().size, 8192U);
  EXPECT_EQ(std::filesystem::file_size(file), 8192U);
}

TEST_F(NbdExactSizeTest, ASmallerWishChangesNothing) {
  begin_file(1000);
  ASSERT_TRUE(stack->resize(512));
  EXPECT_EQ(client().agreed().size, 1000U);
  expect_file(model);
}

TEST_F(NbdExactSizeTest, GoesOnInTheNextServer) {
  for (const uint64_t size : {1U, 513U, 1000U}) {
    SCOPED_TRACE(size);
    begin_file(size);
    NbdClient one = client();
    for (int i = 0; i < 2; ++i) {
      hand_over();
      ASSERT_EQ(client().agreed().size, size);
      model = bytes_of(size, 10 + i);
      ASSERT_EQ(one.write(0, model), 0);
      ASSERT_EQ(one.read(size - 1, 1).data, part(size - 1, 1));
      expect_file(model);
    }
  }
}

// A connection that was told the end of then goes on where it is the end of nothing any more.
TEST_F(NbdExactSizeTest, TheNextServerMayHaveMore) {
  begin_file(1000);
  NbdClient one = client();
  std::filesystem::resize_file(file, 2048);
  hand_over();
  ASSERT_EQ(client().agreed().size, 2048U);
  const Data data = bytes_of(488, 1);
  ASSERT_EQ(one.write(512, data), 0);
  ASSERT_EQ(one.write(999, Data{data.back()}), 0);
  std::ranges::copy(data, model.begin() + 512);
  model.resize(2048);
  expect_file(model);
}

// Other targets have whole blocks.
TEST_F(NbdExactSizeTest, OnlyAFileItselfHasIt) {
  put(bytes_of(1000, 1));
  const auto size_of = [&](const std::string& before, const std::string& after) {
    const auto opened =
        sluice::test::open_stack(before + file + after, /*read_only=*/false, /*to_the_byte=*/true);
    return opened ? (*opened)->disk().geometry().data_bytes() : 0;
  };
  EXPECT_EQ(size_of("", ""), 1000U);
  EXPECT_EQ(size_of("loop(", ", offset=512)"), 488U);
  EXPECT_EQ(size_of("exports(", ", names=one)"), 1000U);
  EXPECT_EQ(size_of("loop(", ", size=512)"), 512U);
  EXPECT_EQ(size_of("fault(", ")"), 512U);
  EXPECT_EQ(size_of("linear(", ")"), 512U);
  EXPECT_EQ(size_of("exports(linear(", "), names=one)"), 512U);
  EXPECT_EQ((*sluice::test::open_stack(file))->disk().geometry().data_bytes(), 512U);
  put({});
  const auto empty = sluice::test::open_stack(file, /*read_only=*/false, /*to_the_byte=*/true);
  ASSERT_FALSE(empty);
  EXPECT_NE(empty.error().text.find("is empty"), std::string::npos) << empty.error().text;
}

}  // namespace
}  // namespace sluice::nbd::test
