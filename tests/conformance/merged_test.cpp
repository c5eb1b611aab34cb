// The mechanism that was merged (S116 to S129), as far as every provider has it: buffers that are
// there before their request is delivered, requests that are answered while their buffer is still
// lent, short results. What only the driver does is in ublk_buffers_test.cpp.
#include <sys/socket.h>

#include <array>
#include <future>
#include <thread>

#include "conformance/buffer_commands.hpp"
#include "frontend/ublk/abi.hpp"
#include "frontend/ublk/mode.hpp"
#include "lend/auto_buf.hpp"
#include "unit/core/lent.hpp"
#include "unit/ring/descriptors.hpp"

namespace sluice::test {
namespace {

using namespace std::chrono_literals;
using testing::Each;
using testing::ElementsAre;

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint32_t kHalf = kBytes / 2;
constexpr Segment kAll{0, kBytes};

// Serves requests from the slot of their tag. What is not there is got by hand, into the next.
class AutoLent : public Server {
 public:
  static constexpr uint32_t kSlots = 16;

  explicit AutoLent(const Descriptor& file) : file_(as_file(file)) {}

  bool fell_back() const { return fell_back_; }
  int error() const { return error_; }
  // From now on another buffer is in the slots.
  void occupy(Lent& other) {
    for (uint32_t slot = 0; slot < kSlots / 2; ++slot) {
      EXPECT_TRUE(table_.install(slot, other.loan.view()).ok());
    }
  }
  lend::BufferTable& table() { return table_; }

 private:
  Task serve(Request& request) override {
    const uint32_t slot = request.tag;
    Status status;
    {
      const lend::AutoBuf buffer(table_, slot, request.data);
      fell_back_ = buffer.needs_get_buf();
      error_ = buffer.status().error();
      Task moving = move(request, fell_back_ ? slot + kSlots / 2 : slot);
      status = co_await moving;
    }
    EXPECT_NE(table_.holder(slot), request.data.loan()) << "it is gone with the request";
    co_return status;
  }

  Task move(Request& request, uint32_t slot) {
    const lend::Consumer read = lend::Read{.file = file_, .offset = request.offset};
    const lend::Consumer write = lend::Write{.file = file_, .offset = request.offset};
    lend::GetBuf getting(table_, slot, provider(), lend::Provider::position(request), kBytes);
    lend::UseBuf moving(table_, slot, kAll, request.op == Op::read ? read : write);
    lend::PutBuf putting(table_, slot);
    const std::array<lend::Step, 3> by_hand{getting, moving, putting};
    lend::Chain chain(fell_back_ ? std::span(by_hand) : std::span(by_hand).subspan(1, 1));
    Task running = chain.run(request);
    co_return co_await running;
  }

  const File file_;
  lend::BufferTable table_ = make_table(kSlots);
  bool fell_back_ = false;
  int error_ = 0;
};

TEST_P(OnEachProvider, S126_TheBufferIsThereBeforeTheRequestAndGoneAfterIt) {
  const Descriptor file = make_file(kBytes, false);
  auto& server = serve_with<AutoLent>(file);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_TRUE(has_pattern(back));
  EXPECT_FALSE(server.fell_back());
  EXPECT_EQ(copied_bytes(), 0U);
}

// As the driver without its FALLBACK flag: the request would fail, and nobody would know why.
TEST_P(OnEachProvider, S126_P17_E_AutoBuf_SlotTakenIsLentByHand) {
  const Descriptor file = make_file(kBytes, false);
  Bytes others(512);
  Lent other(Direction::source, others);
  auto& server = serve_with<AutoLent>(file);
  server.occupy(other);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_TRUE(server.fell_back());
  EXPECT_EQ(server.error(), EBUSY);
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  for (uint32_t slot = 0; slot < AutoLent::kSlots; ++slot) {
    const bool of_other = slot < AutoLent::kSlots / 2;
    EXPECT_EQ(server.table().holder(slot), of_other ? &other.loan : nullptr) << slot;
    EXPECT_EQ(server.table().remove(slot).ok(), of_other);
  }
}

// Holds a request until it is told to answer it, with its buffer lent to whoever has taken it.
class Waits : public Server {
 public:
  std::optional<lend::Position> delivered() const {
    return delivered_.load() ? std::optional(at_) : std::nullopt;
  }
  void answer() { answered_.store(true); }

 private:
  Task serve(Request& request) override {
    at_ = lend::Provider::position(request);
    delivered_.store(true);
    while (!answered_.load()) {
      auto pause = request.ring->sleep(1ms);
      static_cast<void>(co_await pause);
    }
    co_return kOk;
  }

  lend::Position at_;
  std::atomic<bool> delivered_ = false;
  std::atomic<bool> answered_ = false;
};

// Two slots of one table, one of another, and both of another thread.
TEST_P(OnEachProvider, S121_S122_P4_P16_ARequestEndsWithItsLastSlotOfAnyTable) {
  auto& server = serve_with<Waits>();
  std::array tables{make_table(4), make_table(4)};
  memory(kBytes, true);
  auto writing = std::async(std::launch::async, [&] { return write(0, kBytes); });
  while (!server.delivered()) std::this_thread::sleep_for(1ms);
  const auto lent = [&] { return server.provider().lend(*server.delivered(), kBytes); };
  EXPECT_TRUE(tables[0].install(1, lent()).ok());
  EXPECT_TRUE(tables[0].install(3, lent()).ok());
  EXPECT_TRUE(tables[1].install(1, lent()).ok());

  server.answer();
  EXPECT_EQ(writing.wait_for(50ms), std::future_status::timeout) << "all three";
  EXPECT_TRUE(tables[0].remove(1).ok());
  EXPECT_TRUE(tables[1].remove(1).ok());
  EXPECT_EQ(writing.wait_for(50ms), std::future_status::timeout) << "one is left";
  EXPECT_EQ(lent().status().error(), EINVAL) << "an answered request lends nothing new";
  EXPECT_TRUE(tables[0].remove(3).ok());
  EXPECT_EQ(writing.get(), 0);
}

// Fills less of a read than it says.
class Claims : public Server {
 public:
  Claims(const Descriptor& file, uint32_t fills) : file_(as_file(file)), fills_(fills) {}

 private:
  Task serve(Request& request) override {
    lend::Consumption filling(request.data.slice(0, fills_, *request.arena),
                              lend::Read{.file = file_});
    Task running = filling.run(request);
    const Status filled = co_await running;
    EXPECT_EQ(filled.ok(), fills_ != kBytes) << "all of it is tried only on an empty file";
    co_return kOk;
  }

  const File file_;
  const uint32_t fills_;
};

// With the driver's SHMEM_ZC a short result completes all of the request with success; otherwise it
// asks for the rest again. Ours fails what claims too much.
TEST_P(OnEachProvider, S124_S128_P8_AShortResultNeverCompletesAWholeRead) {
  const Descriptor file = make_file(kBytes, true);
  serve_with<Claims>(file, kHalf);
  const auto back = memory(kBytes);
  EXPECT_EQ(read(0, kBytes), EIO);
  EXPECT_THAT(back.subspan(kHalf), Each(std::byte{0xee}));
}

TEST_P(OnEachProvider, S124_P8_E_AReadOfNothingIsAnError) {
  const Descriptor empty = make_file(0, false);
  serve_with<Claims>(empty, kBytes);
  const auto back = memory(kBytes);
  EXPECT_EQ(read(0, kBytes), EIO);
  EXPECT_THAT(back, Each(std::byte{0xee}));
}

TEST(Rules, S125_P19_NoPagesAreLentToAnUnprivilegedServer) {
  const uint64_t all = ~uint64_t{0};
  ublk::ModeOptions mode_options;
  mode_options.unprivileged = true;
  const auto choice = ublk::choose_mode(mode_options, all, {});
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->mode, ublk::BufferMode::get_data);
  EXPECT_EQ(choice->flags & (ublk::abi::kSupportZeroCopy | ublk::abi::kAutoBufReg), 0U);
  for (const auto mode : {ublk::BufferMode::auto_register, ublk::BufferMode::register_buf,
                          ublk::BufferMode::user_copy}) {
    mode_options.named = mode;
    const auto refused = ublk::choose_mode(mode_options, all, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().error, EOPNOTSUPP);
  }
}

// Copies parts of a request by hand, at any offset.
class Copies : public Server {
 public:
  static constexpr uint32_t kPart = 512;
  static constexpr uint32_t kAt = 4096 + 512;

  std::vector<int> errors() const { return errors_; }
  std::span<const std::byte> seen() const { return seen_; }

 private:
  Task serve(Request& request) override {
    errors_.clear();
    Ring& ring = *request.ring;
    const View part = request.data.slice(kAt, kPart, *request.arena);
    if (request.op == Op::read) {
      auto zeroing = ring.zero(request.data);
      errors_.push_back((co_await zeroing).error());
      auto copying = ring.copy_in(part, given_);
      errors_.push_back((co_await copying).error());
      auto wrong = ring.copy_out(part, seen_);
      errors_.push_back((co_await wrong).error());
    } else {
      auto copying = ring.copy_out(part, seen_);
      errors_.push_back((co_await copying).error());
      auto wrong = ring.copy_in(part, given_);
      errors_.push_back((co_await wrong).error());
    }
    auto beyond = ring.copy_out(request.data.slice(kBytes - 1, kPart, *request.arena), {});
    errors_.push_back((co_await beyond).error());
    co_return kOk;
  }

  const std::vector<std::byte> given_ = patterned(kPart, 77);
  std::vector<std::byte> seen_ = std::vector<std::byte>(kPart);
  std::vector<int> errors_;
};

TEST_P(OnEachProvider, S127_P14_BytesAreCopiedByHandAtAnyOffset) {
  auto& server = serve_with<Copies>();
  const auto written = memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.errors(), ElementsAre(0, EACCES, EFAULT));
  EXPECT_TRUE(has_pattern(server.seen(), Copies::kAt));
  EXPECT_TRUE(has_pattern(written));

  const auto back = memory(kBytes);
  ASSERT_EQ(read(0, kBytes), 0);
  EXPECT_THAT(server.errors(), ElementsAre(0, 0, EACCES, EFAULT));
  EXPECT_THAT(back.first(Copies::kAt), Each(std::byte{0}));
  EXPECT_TRUE(has_pattern(back.subspan(Copies::kAt, Copies::kPart), 77));
  EXPECT_THAT(back.subspan(Copies::kAt + Copies::kPart), Each(std::byte{0}));
  EXPECT_TRUE(has_pattern(server.seen(), Copies::kAt)) << "nothing was copied out of a read";
}

}  // namespace
}  // namespace sluice::test
