// GET_BUF and the table of registered buffers (S86 to S98).
#include <sys/socket.h>

#include <array>

#include "conformance/buffer_commands.hpp"
#include "unit/ring/descriptors.hpp"

namespace sluice::test {
namespace {

using lend::Provider;
using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint32_t kHalf = kBytes / 2;
constexpr uint32_t kNoSlot = BufferCommands::kSlots;  // the first that the table has not
constexpr std::byte kUntouched{0xee};                 // what memory() fills in

// A request of the program is refused its use of `at`: the commands say `results`, nothing is left
// of them, and no byte has moved.
class GetBufRefused : public OnEachProvider {
 protected:
  void expect_refused(const BufferCommands::Plan& plan, const std::vector<int64_t>& results) {
    const auto& server = serve_with<BufferCommands>(plan);
    const auto written = memory(kBytes, true);
    ASSERT_EQ(write(0, kBytes), 0);
    EXPECT_TRUE(has_pattern(written));
    EXPECT_EQ(server.results(), results);
    EXPECT_EQ(server.references_left(), 0U);
    EXPECT_THAT(server.slots_left(), IsEmpty());
    EXPECT_THAT(contents(file_, kBytes), Each(std::byte{0}));
  }
  lend::Consumer to_file() const { return lend::Write{.file = as_file(file_)}; }

  const Descriptor file_ = make_file(kBytes, false);
};

// Any operation that takes a registered buffer can use it, by offset in it.
TEST_P(OnEachProvider, S86_S92_UsersNameItByOffset) {
  const Descriptor file = make_file(kBytes, false);
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    const bool reads = request.op == Op::read;
    const auto use = [&](Segment piece, uint64_t offset) {
      const lend::Consumer read = lend::Read{.file = as_file(file), .offset = offset};
      const lend::Consumer write = lend::Write{.file = as_file(file), .offset = offset};
      on.use(1, piece, reads ? read : write);
    };
    on.get(1, request);
    use({0, kHalf}, kHalf);
    use({kHalf, kHalf}, 0);
    on.put(1);
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, kHalf, kHalf, 0));
  EXPECT_TRUE(has_pattern(contents(file, kHalf, kHalf)));
  EXPECT_TRUE(has_pattern(contents(file, kHalf), kHalf));
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, kHalf, kHalf, 0));
  EXPECT_TRUE(has_pattern(back));
  EXPECT_EQ(copied_bytes(), 0U);
}

TEST_P(OnEachProvider, S86_P3_GettingAndPuttingAskTheKernelNothing) {
  const auto& server = serve_with<BufferCommands>([](BufferCommands& on, Request& request) {
    on.get(0, request);
    on.put(0);
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, 0));
  EXPECT_EQ(server.submitted_at_once(), 0U);
  EXPECT_EQ(server.enters(), 0U);
}

TEST_P(GetBufRefused, S89_E_GetBuf_SlotOutOfTable) {
  expect_refused([](BufferCommands& on, Request& request) { on.get(kNoSlot, request); }, {-EINVAL});
}

TEST_P(GetBufRefused, S89_E_GetBuf_DeviceDoesNotLend) {
  expect_refused(
      [](BufferCommands& on, Request& request) {
        on.get(0, lend::BufferSource(), Provider::position(request), kBytes);
      },
      {-EOPNOTSUPP});
}

TEST_P(GetBufRefused, S89_E_GetBuf_DeviceGone) {
  expect_refused(
      [](BufferCommands& on, Request& request) {
        on.provider().withdraw();
        on.get(0, request);
      },
      {-ENODEV});
}

TEST_P(GetBufRefused, S89_E_GetBuf_NoSuchRequest) {
  expect_refused(
      [](BufferCommands& on, Request& request) {
        lend::Position at = Provider::position(request);
        at.tag ^= 1;  // not delivered
        on.get(0, on.provider(), at, kBytes);
        at.queue = 77;
        on.get(0, on.provider(), at, kBytes);
      },
      {-EINVAL, -EINVAL});
}

TEST_P(GetBufRefused, S89_E_GetBuf_NoLengthAndBeyondTheEnd) {
  expect_refused(
      [](BufferCommands& on, Request& request) {
        on.get(0, on.provider(), Provider::position(request), 0);
        on.get(0, on.provider(), Provider::position(request), kBytes + 1);
        on.get(0, on.provider(), Provider::position(request, 4096), UINT32_MAX);
      },
      {-EINVAL, -EFAULT, -EFAULT});
}

TEST_P(GetBufRefused, S92_S118_E_UseBuf_BeyondTheBuffer) {
  expect_refused(
      [this](BufferCommands& on, Request& request) {
        on.get(0, request);
        on.use(0, {kBytes - 1, 2}, to_file());
        on.use(0, {4096, UINT32_MAX}, to_file());
        on.put(0);
      },
      {kBytes, -EFAULT, -EFAULT, 0});
}

// As posted: EFAULT for all of these; today: EINVAL where the table ends.
TEST_P(GetBufRefused, S118_E_UseBuf_EmptySlotAndNoSuchSlot) {
  expect_refused(
      [this](BufferCommands& on, Request&) {
        on.use(0, {0, kBytes}, to_file());
        on.use(kNoSlot, {0, kBytes}, to_file());
      },
      {-EFAULT, -EINVAL});
}

TEST_P(GetBufRefused, S117_E_PutBuf_EmptySlotAndNoSuchSlot) {
  expect_refused(
      [](BufferCommands& on, Request& request) {
        on.put(0);
        on.get(0, request);
        on.put(kNoSlot);
        on.put(0);  // it was still there
      },
      {-EINVAL, kBytes, -EINVAL, 0});
}

TEST_P(GetBufRefused, S118_E_UseBuf_BadFile) {
  expect_refused(
      [](BufferCommands& on, Request& request) {
        on.get(0, request);
        on.use(0, {0, kBytes}, lend::Write{.file = {.number = 1 << 20}});
        on.put(0);
      },
      {kBytes, -EBADF, 0});
}

TEST_P(GetBufRefused, S118_ZeroLengthIsAllowed) {
  expect_refused(
      [this](BufferCommands& on, Request& request) {
        on.get(0, request);
        on.use(0, {kHalf, 0}, to_file());
        on.put(0);
      },
      {kBytes, 0, 0});
}

TEST_P(GetBufRefused, S118_E_UseBuf_OnePieceOfAVectorBeyondTheBuffer) {
  static constexpr std::array<Segment, 2> kPieces{{{0, 4096}, {kBytes - 512, 1024}}};
  expect_refused(
      [this](BufferCommands& on, Request& request) {
        on.get(0, request);
        on.use(0, {0, kBytes}, lend::Writev{.file = as_file(file_), .pieces = kPieces});
        on.put(0);
      },
      {kBytes, -EFAULT, 0});
}

// The kernel says EFAULT to it.
TEST_P(OnEachProvider, S118_AnEmptyPieceOfAVectorIsNothing) {
  static constexpr std::array<Segment, 3> kPieces{{{4096, 4096}, {8192, 0}, {0, 4096}}};
  const Descriptor file = make_file(kBytes, false);
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.get(0, request);
    on.use(0, {0, kBytes}, lend::Writev{.file = as_file(file), .pieces = kPieces});
    on.put(0);
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, 8192, 0));
  EXPECT_TRUE(has_pattern(contents(file, 4096), 4096));
  EXPECT_TRUE(has_pattern(contents(file, 4096, 4096)));
}

// A WRITE's buffer is a source only, as posted. It is refused to what would fill it.
TEST_P(GetBufRefused, S93_S118_P5_E_UseBuf_WrongDirectionOfAWrite) {
  const Pair sockets = stream_sockets();
  const auto more = patterned(kHalf);
  ASSERT_EQ(::send(sockets.far.number(), more.data(), 4096, 0), 4096);
  const Descriptor full = make_file(kBytes, true);
  expect_refused(
      [&](BufferCommands& on, Request& request) {
        on.get(0, request);
        on.use(0, {0, kBytes}, lend::Read{.file = as_file(full)});
        on.use(0, {0, 4096}, lend::Recv{as_file(sockets.near)});
        on.put(0);
      },
      {kBytes, -EACCES, -EACCES, 0});
  EXPECT_EQ(received_by(sockets.near).size(), 4096U) << "nothing was taken from the socket";
}

// As posted no READ's buffer could be had; it was meant to be possible, to fill it.
TEST_P(GetBufRefused, S93_S118_P5_E_UseBuf_WrongDirectionOfARead) {
  const Pair sockets = stream_sockets();
  const Descriptor full = make_file(kBytes, true);
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.get(0, request);
    on.use(0, {0, kBytes}, to_file());
    on.use(0, {0, kBytes}, lend::Send{as_file(sockets.near)});
    on.use(0, {0, kBytes}, lend::SendZc{as_file(sockets.near)});
    on.put(0);
  });
  const auto back = memory(kBytes);
  EXPECT_NE(read(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, -EACCES, -EACCES, -EACCES, 0));
  EXPECT_THAT(contents(file_, kBytes), Each(std::byte{0}));
  EXPECT_THAT(received_by(sockets.far), IsEmpty());
  EXPECT_THAT(back, Each(kUntouched));
}

// The provider's buffers are lent as often as one likes (the quota of 2022 allowed once); a slot
// has one at a time, and only that which was named changes.
TEST_P(OnEachProvider, S89_S98_E_GetBuf_SlotTaken) {
  const Descriptor file = make_file(kBytes, false);
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.get(2, request);
    on.get(2, on.provider(), Provider::position(request, kHalf), kHalf);
    on.get(3, on.provider(), Provider::position(request, kHalf), kHalf);
    on.use(2, {0, kHalf}, lend::Write{.file = as_file(file)});  // still the first
    on.use(3, {0, kHalf}, lend::Write{.file = as_file(file), .offset = kHalf});
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, -EBUSY, kHalf, kHalf, kHalf));
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_THAT(server.slots_left(), ElementsAre(2, 3));
  EXPECT_EQ(server.references_left(), 2U) << "one for each slot, none for what was refused";
}

TEST_P(OnEachProvider, S97_ASlotIsEmptiedByWhatComesInItsPlace) {
  const Descriptor file = make_file(kBytes, false);
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    on.get(0, request);
    on.get(0, on.provider(), Provider::position(request, kHalf), kHalf, lend::Link::none,
           lend::BufferTable::Into::any);
    on.use(0, {0, kHalf}, lend::Write{.file = as_file(file)});
    // What cannot be had replaces nothing.
    on.get(0, on.provider(), Provider::position(request), kBytes + 1, lend::Link::none,
           lend::BufferTable::Into::any);
    on.use(0, {0, kHalf}, lend::Write{.file = as_file(file), .offset = kHalf});
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kBytes, kHalf, kHalf, -EFAULT, kHalf));
  EXPECT_TRUE(has_pattern(contents(file, kHalf), kHalf));
  EXPECT_TRUE(has_pattern(contents(file, kHalf, kHalf), kHalf));
  EXPECT_EQ(server.references_left(), 1U) << "the first is back";
}

// Gives half of what it is asked for.
class HalfProvider {
 public:
  explicit HalfProvider(Provider& provider) : provider_(provider) {}
  View lend(lend::Position at, uint32_t length) { return provider_.lend(at, length / 2); }

 private:
  Provider& provider_;
};

TEST_P(OnEachProvider, S91_AShortProviderBreaksTheLinkAndIsInTheTable) {
  const Descriptor file = make_file(kBytes, false);
  std::optional<HalfProvider> half;
  const auto& server = serve_with<BufferCommands>([&](BufferCommands& on, Request& request) {
    half.emplace(on.provider());
    const lend::Consumer to_file = lend::Write{.file = as_file(file)};
    on.get(0, *half, Provider::position(request), kBytes, lend::Link::soft);
    on.use(0, {0, kHalf}, to_file, lend::Link::soft);
    on.put(0);
  });
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results(), ElementsAre(kHalf, -ECANCELED, -ECANCELED));
  EXPECT_EQ(server.status(), Status::from_errno(ENODATA));
  EXPECT_THAT(contents(file, kBytes), Each(std::byte{0}));
  EXPECT_THAT(server.slots_left(), ElementsAre(0)) << "it has to be put";
  EXPECT_EQ(server.references_left(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Providers, GetBufRefused, testing::ValuesIn(kinds_here()),
                         [](const auto& kind) { return to_string(kind.param); });

}  // namespace
}  // namespace sluice::test
