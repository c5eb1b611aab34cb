// NbdExport, as its clients see it: any bytes, every command, and all forms of replies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "unit/frontend/nbd/export_rig.hpp"

namespace sluice::nbd::test {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

constexpr Headers kAllHeaders[] = {Headers::simple, Headers::structured, Headers::extended};

TEST_F(NbdExportTest, TellsTheClientWhatItIs) {
  serve("mem:4M");
  NbdClient one = client();
  EXPECT_EQ(one.agreed().size, kSize);
  EXPECT_EQ(one.agreed().block_sizes.minimum, 1U);
  constexpr uint16_t kExpected = kHasFlags | kSendFlush | kSendFua | kSendWriteZeroes |
                                 kSendFastZero | kSendDf | kCanMultiConn;
  EXPECT_EQ(one.agreed().flags & kExpected, kExpected);
  EXPECT_EQ(one.agreed().flags & kReadOnly, 0);
  EXPECT_EQ(session->frontend().path(), "nbd+unix:///disk?socket=" + path);
  struct stat status{};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

// A model of the export: any offset and length, with all headers. T1.17
TEST_F(NbdExportTest, ServesAnyBytes) {
  serve("mem:4M");
  std::vector<std::byte> model(kSize);
  std::minstd_rand random(7);
  std::vector<NbdClient> clients;
  for (const Headers headers : kAllHeaders) clients.push_back(client(headers));
  for (int i = 0; i < 600; ++i) {
    NbdClient& one = clients[random() % clients.size()];
    const uint64_t length = 1 + random() % (i % 4 == 0 ? 200'000 : 2000);
    const uint64_t offset = random() % (kSize - length);
    const auto begin = model.begin() + static_cast<ptrdiff_t>(offset);
    const auto end = begin + static_cast<ptrdiff_t>(length);
    switch (random() % 3) {
      case 0: {
        const auto data = bytes_of(length, i);
        ASSERT_EQ(one.write(offset, data), 0);
        std::ranges::copy(data, begin);
        break;
      }
      case 1:
        ASSERT_EQ(one.command(Command::write_zeroes, offset, length).error, 0);
        std::fill(begin, end, std::byte{0});
        break;
      default: {
        const auto reply = one.read(offset, length);
        ASSERT_EQ(reply.error, 0);
        ASSERT_TRUE(std::equal(begin, end, reply.data.begin(), reply.data.end())) << i;
      }
    }
  }
}

TEST_F(NbdExportTest, ManyRequestsAreServedAtOnce) {
  serve("mem:4M", false, 2);
  for (const Headers headers : kAllHeaders) {
    NbdClient one = client(headers);
    constexpr uint64_t kCount = 100;
    for (uint64_t i = 0; i < kCount; ++i) {
      const std::vector<std::byte> data(512, static_cast<std::byte>(i));
      one.ask({.command = Command::write, .cookie = i, .offset = i * 512, .length = 512}, data);
    }
    std::vector<bool> answered(kCount);
    for (uint64_t i = 0; i < kCount; ++i) {
      const auto reply = one.reply();
      ASSERT_TRUE(reply);
      EXPECT_EQ(reply->error, 0);
      answered.at(reply->cookie) = true;
    }
    EXPECT_TRUE(std::ranges::all_of(answered, [](bool each) { return each; }));
    for (uint64_t i = 0; i < kCount; ++i) {
      EXPECT_EQ(one.read(i * 512, 1).data.at(0), static_cast<std::byte>(i));
    }
  }
}

// T1.13
TEST_F(NbdExportTest, EveryCommandTakesFua) {
  serve(directory.file("disk.img", kSize));
  for (const Headers headers : kAllHeaders) {
    NbdClient one = client(headers);
    EXPECT_EQ(one.write(1, bytes_of(10, 1), kFua), 0);
    EXPECT_EQ(one.read(1, 10, kFua).data, bytes_of(10, 1));
    for (const Command what :
         {Command::flush, Command::trim, Command::cache, Command::write_zeroes}) {
      EXPECT_EQ(one.command(what, 0, what == Command::flush ? 0 : 8192, kFua).error, 0)
          << static_cast<int>(what);
    }
  }
}

// T1.12
TEST_F(NbdExportTest, RequestsBeyondTheEndAreRefused) {
  serve("mem:4M");
  NbdClient one = client();
  for (const auto& [offset, length] : {std::pair<uint64_t, uint64_t>{kSize, 1},
                                       {kSize - 1, 2},
                                       {UINT64_MAX, 1},
                                       {UINT64_MAX - 10, 100},
                                       {0, kSize + 1}}) {
    EXPECT_EQ(one.read(offset, length).error, EINVAL);
    EXPECT_EQ(one.command(Command::write_zeroes, offset, length).error, ENOSPC);
    EXPECT_EQ(one.command(Command::trim, offset, length).error, EINVAL);
    EXPECT_EQ(one.command(Command::block_status, offset, length).error, EINVAL);
  }
  EXPECT_EQ(one.write(kSize - 1, bytes_of(2, 1)), ENOSPC);
  EXPECT_EQ(one.read(0, 0).error, EINVAL);
  EXPECT_EQ(one.read(kSize - 1, 1).error, 0);
}

// T1.12
TEST_F(NbdExportTest, AReadOnlyExportIsNotChanged) {
  serve(directory.file("disk.img", kSize), /*read_only=*/true);
  NbdClient one = client();
  EXPECT_NE(one.agreed().flags & kReadOnly, 0);
  EXPECT_EQ(one.write(kSize, bytes_of(10, 1)), EPERM) << "before its range is looked at";
  EXPECT_EQ(one.command(Command::trim, 0, 4096).error, EPERM);
  EXPECT_EQ(one.command(Command::write_zeroes, 0, 4096).error, EPERM);
  EXPECT_EQ(one.read(0, 10).data, std::vector<std::byte>(10));
}

TEST_F(NbdExportTest, UnknownCommandsAndFlagsAreRefused) {
  serve("mem:4M");
  for (const Headers headers : kAllHeaders) {
    NbdClient one = client(headers);
    EXPECT_EQ(one.command(static_cast<Command>(99), 0, 512).error, EINVAL);
    EXPECT_EQ(one.read(0, 512, kFastZero).error, EINVAL);
    EXPECT_EQ(one.read(0, 512).error, 0) << "it goes on";
  }
}

TEST_F(NbdExportTest, AnUnexpectedPayloadIsSkipped) {
  serve("mem:4M");
  NbdClient one = client();
  const auto junk = bytes_of(300'000, 1);
  EXPECT_EQ(one.call({.command = Command::trim, .cookie = 1, .length = junk.size()}, junk).error,
            EINVAL);
  EXPECT_EQ(one.write(kSize, junk), ENOSPC);
  EXPECT_EQ(one.read(0, 512).data, std::vector<std::byte>(512));
}

// T1.18
TEST_F(NbdExportTest, AWriteThatIsTooLongEndsTheConnection) {
  serve("mem:64M");
  NbdClient one = client(Headers::simple);
  one.ask({.command = Command::write, .length = kDefaultPayloadMax + 1});
  EXPECT_TRUE(one.is_closed());
  NbdClient two = client(Headers::simple);
  EXPECT_EQ(two.write(3, bytes_of(kDefaultPayloadMax, 2)), 0);
  EXPECT_EQ(two.read(3, kDefaultPayloadMax).data, bytes_of(kDefaultPayloadMax, 2));
  EXPECT_EQ(two.read(0, kDefaultPayloadMax + 1).error, EINVAL);
}

TEST_F(NbdExportTest, BlockStatusTellsHolesFromData) {
  const std::string file = directory.file("disk.img", kSize);
  serve(file);
  for (const Headers headers : {Headers::structured, Headers::extended}) {
    NbdClient one = client(headers);
    ASSERT_EQ(one.write(1 << 20, std::vector<std::byte>(65536, std::byte{1})), 0);
    const auto all = one.command(Command::block_status, 0, kSize);
    EXPECT_EQ(all.error, 0);
    ASSERT_THAT(all.extents, SizeIs(3));
    EXPECT_EQ(all.extents[0].length, 1U << 20);
    EXPECT_EQ(all.extents[0].flags, uint64_t{kHole | kZero});
    EXPECT_EQ(all.extents[1].length, 65536U);
    EXPECT_EQ(all.extents[1].flags, 0U);
    const auto part = one.command(Command::block_status, (1 << 20) - 5, 10, kRequestOne);
    ASSERT_THAT(part.extents, SizeIs(1));
    EXPECT_EQ(part.extents[0].length, 5U);
  }
  NbdClient simple = client(Headers::simple);
  EXPECT_EQ(simple.command(Command::block_status, 0, 512).error, EINVAL);
}

// Extents of a child may end within a block of the stack.
TEST_F(NbdExportTest, BlockStatusIsNeverEmpty) {
  const std::string fine = directory.file("a.img", 1 << 20);
  const std::string coarse = directory.file("b.img", 1 << 20);
  serve("linear(loop(" + fine + ", offset=512, size=64k, block=512), loop(" + coarse +
        ", block=4096))");
  NbdClient one = client();
  ASSERT_EQ(one.write(4096, bytes_of(4096, 1)), 0);  // data from byte 3584 on
  for (uint64_t offset = 0; offset < 8192; offset += 100) {
    for (const uint16_t flags : {uint16_t{0}, uint16_t{kRequestOne}}) {
      const auto reply = one.command(Command::block_status, offset, 300, flags);
      ASSERT_EQ(reply.error, 0);
      ASSERT_FALSE(reply.extents.empty()) << offset;
      for (const StatusExtent& extent : reply.extents) EXPECT_NE(extent.length, 0U);
    }
  }
}

TEST_F(NbdExportTest, BlockStatusCanNameItsContexts) {
  serve("mem:4M");
  NbdClient one = client();
  ASSERT_NE(one.agreed().flags & kBlockStatusPayload, 0);
  const auto query = [&](std::vector<uint32_t> ids) {
    std::vector<std::byte> payload;
    Writer writer(payload);
    writer.put(uint64_t{4096});
    for (const uint32_t id : ids) writer.put(id);
    return one.call({.command = Command::block_status, .length = payload.size()}, payload);
  };
  const uint32_t ours = *one.agreed().allocation_context;
  EXPECT_THAT(query({ours}).extents, SizeIs(1));
  EXPECT_EQ(query({}).error, EINVAL);
  EXPECT_EQ(query({ours, ours}).error, EINVAL);
  EXPECT_EQ(query({ours + 1}).error, EINVAL);
  EXPECT_EQ(query(std::vector<uint32_t>(500, ours)).error, EINVAL);
}

TEST_F(NbdExportTest, TrimFreesWholeBlocksOnly) {
  const std::string file = directory.file("disk.img", kSize);
  serve(file);
  NbdClient one = client();
  ASSERT_EQ(one.write(0, std::vector<std::byte>(1 << 20, std::byte{1})), 0);
  ASSERT_EQ(one.command(Command::trim, 1, (1 << 20) - 2).error, 0);
  EXPECT_EQ(one.read(0, 1).data.at(0), std::byte{1});
  EXPECT_EQ(one.read((1 << 20) - 1, 1).data.at(0), std::byte{1});
  EXPECT_EQ(one.command(Command::trim, 5, 1).error, 0) << "no block";
}

// Whatever blocks the range begins and ends in.
TEST_F(NbdExportTest, DurableZeroesAtEveryAlignment) {
  serve("mem:4M");
  NbdClient one = client();
  for (uint64_t offset = 0; offset < 1100; offset += 100) {
    for (uint64_t length = 1; length < 2200; length += 211) {
      const auto data = bytes_of(4096, static_cast<int>(offset + length));
      ASSERT_EQ(one.write(0, data, kFua), 0);
      ASSERT_EQ(one.command(Command::write_zeroes, offset, length, kFua).error, 0);
      auto expected = data;
      std::fill_n(expected.begin() + static_cast<ptrdiff_t>(offset), length, std::byte{0});
      ASSERT_EQ(one.read(0, 4096).data, expected) << offset << " " << length;
    }
  }
}

TEST_F(NbdExportTest, DurableRequestsInFlightAreListedOnce) {
  serve("fault(mem(4M), delay=300ms, ops=write+flush+write_zeroes+discard)");
  NbdClient one = client();
  const auto data = bytes_of(512, 1);
  one.ask({.flags = kFua, .command = Command::write, .cookie = 1, .length = 512}, data);
  one.ask({.flags = kFua, .command = Command::write_zeroes, .cookie = 2, .length = 8192});
  one.ask({.flags = kFua, .command = Command::trim, .cookie = 3, .length = 8192});
  one.ask({.command = Command::flush, .cookie = 4});
  size_t most = 0;
  for (int i = 0; i < 50; ++i) {
    const auto found = session->frontend().in_flight();
    ASSERT_TRUE(found);
    most = std::max(most, found->size());
  }
  EXPECT_GT(most, 0U);
  EXPECT_LE(most, 4U);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(one.reply()->error, 0);
}

// A refusal changes nothing, not even the edges.
TEST_F(NbdExportTest, FastZeroesAreFastOrRefused) {
  serve("mem:4M");
  NbdClient one = client();
  const auto data = bytes_of(100'000, 1);
  ASSERT_EQ(one.write(0, data), 0);
  const int error = one.command(Command::write_zeroes, 100, 60'000, kFastZero | kNoHole).error;
  ASSERT_EQ(error, EOPNOTSUPP) << "this target has no fast zeroes that keep the room";
  EXPECT_EQ(one.read(0, 100'000).data, data);
  EXPECT_EQ(one.command(Command::write_zeroes, 100, 60'000, kFastZero).error, 0);
}

TEST_F(NbdExportTest, ErrorsOfTheStackReachTheClient) {
  serve("fault(mem(4M), errors=100%, ops=read)");
  for (const Headers headers : kAllHeaders) {
    NbdClient one = client(headers);
    const auto reply = one.read(0, 4096);
    EXPECT_EQ(reply.error, EIO);
    EXPECT_THAT(reply.data, IsEmpty());
    EXPECT_EQ(one.write(0, bytes_of(512, 1)), 0) << "it goes on";
  }
}

}  // namespace
}  // namespace sluice::nbd::test
