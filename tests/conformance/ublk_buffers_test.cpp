// What only the ublk driver does (S116, S117, S120 to S122): the buffers of its requests in the
// table of a ring, by its own commands. Runs where there is a driver: tests/device/conformance.sh.
#include <gmock/gmock.h>

#include <array>
#include <future>
#include <thread>
#include <vector>

#include "conformance/scene.hpp"
#include "frontend/ublk/io_command.hpp"
#include "frontend/ublk/register_use_release.hpp"
#include "ring/kernel_ring.hpp"
#include "ring/raw_operation.hpp"

namespace sluice::test {
namespace {

using namespace std::chrono_literals;
using testing::Each;
using testing::ElementsAre;
using ublk::abi::kRegisterIoBuf;
using ublk::abi::kUnregisterIoBuf;

constexpr uint32_t kBytes = 128 * 1024;
constexpr uint16_t kTableSlots = 8;  // as many as the device has tags

class OnUblk : public OnEachProvider {};
// Where slots of the table are free while a request is served.
class OnUblkByHand : public OnEachProvider {};

// A command about the buffer of a request.
RawOperation about(Request& request, unsigned long op, uint64_t slot, uint16_t tag) {
  const File device = request.data.loan()->copy_file();
  return {*request.ring,
          ublk::io_command_sqe(
              device, op, {.queue_id = request.queue, .tag = tag, .result = 0, .address = slot})};
}
RawOperation about(Request& request, unsigned long op, uint64_t slot) {
  return about(request, op, slot, request.tag);
}

io_uring_sqe write_fixed(const Descriptor& file, uint16_t slot) {
  io_uring_sqe sqe{};
  io_uring_prep_write_fixed(&sqe, file.number(), nullptr, kBytes, 0, slot);
  return sqe;
}

// What the driver says of commands that it must refuse, while a request is there: for a slot that
// is taken or that there is none of, a tag that there is none of, and one whose request is still to
// come: its command is with the driver, which therefore says EBUSY, and not EINVAL as for the rest.
class Refusals : public Server {
 public:
  std::vector<int32_t> registering, unregistering;

 private:
  Task serve(Request& request) override {
    const auto own = static_cast<uint64_t>(request.data.loan()->slot());
    auto taken = about(request, kRegisterIoBuf, own);
    registering.push_back(co_await taken);
    auto out = about(request, kRegisterIoBuf, kTableSlots);
    registering.push_back(co_await out);
    auto unknown = about(request, kRegisterIoBuf, own, kTableSlots);
    registering.push_back(co_await unknown);
    auto not_delivered = about(request, kRegisterIoBuf, own, request.tag ^ 1);
    registering.push_back(co_await not_delivered);
    auto beyond = about(request, kUnregisterIoBuf, kTableSlots);
    unregistering.push_back(co_await beyond);
    co_return kOk;
  }
};

TEST_P(OnUblk, S116_S117_E_TheDriverRefuses) {
  auto& server = serve_with<Refusals>();
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.registering, ElementsAre(-EBUSY, -EINVAL, -EINVAL, -EBUSY));
  EXPECT_THAT(server.unregistering, ElementsAre(-EINVAL));
}

class Unregisters : public Server {
 public:
  std::vector<int32_t> results;

 private:
  Task serve(Request& request) override {
    auto slot_wait = request.ring->acquire_slot();
    const int slot = co_await slot_wait;
    auto empty = about(request, kUnregisterIoBuf, static_cast<uint64_t>(slot));
    results.push_back(co_await empty);
    auto& ring = static_cast<KernelRing&>(*request.ring);
    EXPECT_TRUE(ring.register_memory(slot, memory_));
    auto of_user = about(request, kUnregisterIoBuf, static_cast<uint64_t>(slot));
    results.push_back(co_await of_user);
    EXPECT_TRUE(ring.register_memory(slot, {}));
    ring.release_slot(slot);
    co_return kOk;
  }

  alignas(4096) std::array<std::byte, 4096> memory_{};
};

TEST_P(OnUblkByHand, S117_E_AnEmptySlotAndTheMemoryOfAProgramAreNotUnregistered) {
  auto& server = serve_with<Unregisters>();
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_THAT(server.results, ElementsAre(-EINVAL, -EBUSY));
}

// Serves writes by RegisterUseRelease, into a slot of its own or one that is taken.
class ThreeInOne : public Server {
 public:
  explicit ThreeInOne(const Descriptor& file) : file_(file) {}

  std::atomic<bool> into_taken_slot = false;
  int32_t answer = 0;
  std::array<int32_t, 3> results{};
  uint64_t submitted_at_once = 0;

 private:
  Task serve(Request& request) override {
    Ring& ring = *request.ring;
    auto slot_wait = ring.acquire_slot();
    const int slot = co_await slot_wait;
    const auto used = static_cast<uint16_t>(into_taken_slot ? request.data.loan()->slot() : slot);
    {
      const uint64_t before = ring.counters().submitted;
      Task running = use(request, used);
      submitted_at_once = ring.counters().submitted - before;
      static_cast<void>(co_await running);
    }
    // What was in a slot that was taken is still there, and the own one is empty again.
    auto again = about(request, kRegisterIoBuf, used);
    EXPECT_EQ(co_await again, into_taken_slot ? -EBUSY : 0);
    auto away = about(request, kUnregisterIoBuf, used);
    if (!into_taken_slot) EXPECT_EQ(co_await away, 0);
    ring.release_slot(slot);
    co_return kOk;
  }

  Task use(Request& request, uint16_t slot) {
    ublk::RegisterUseRelease command(*request.ring,
                                     {.char_device = request.data.loan()->copy_file(),
                                      .queue = request.queue,
                                      .tag = request.tag,
                                      .slot = slot},
                                     write_fixed(file_, slot));
    answer = co_await command;
    results = command.results();
    co_return kOk;
  }

  const Descriptor& file_;
};

TEST_P(OnUblkByHand, S99_RegisterUseAndReleaseAreOneSubmission) {
  const Descriptor file = make_file(kBytes, false);
  auto& server = serve_with<ThreeInOne>(file);
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.answer, static_cast<int32_t>(kBytes));
  EXPECT_THAT(server.results, ElementsAre(0, kBytes, 0));
  EXPECT_TRUE(has_pattern(contents(file, kBytes)));
  EXPECT_EQ(server.submitted_at_once, 3U);
  EXPECT_EQ(copied_bytes(), 0U);
}

// With three hard links the buffer of the other would be written, and unregistered.
TEST_P(OnUblkByHand, S120_E_RegisterUseRelease_TakenSlotIsLeftAlone) {
  const Descriptor file = make_file(kBytes, false);
  auto& server = serve_with<ThreeInOne>(file);
  server.into_taken_slot = true;
  memory(kBytes, true);
  ASSERT_EQ(write(0, kBytes), 0);
  EXPECT_EQ(server.answer, -EBUSY);
  EXPECT_THAT(server.results, ElementsAre(-EBUSY, -ECANCELED, -ECANCELED));
  EXPECT_THAT(contents(file, kBytes), Each(std::byte{0}));
}

// Answers a request whose buffer is in another slot as well, and unregisters that when it is told
// to.
class KeepsRegistered : public Server, private Message, private Completion {
 public:
  bool answered() const { return answered_.load(); }
  void unregister() { ring_->post(*this); }

 private:
  Task serve(Request& request) override {
    ring_ = request.ring;
    auto slot_wait = ring_->acquire_slot();
    slot_ = co_await slot_wait;
    auto registering = about(request, kRegisterIoBuf, static_cast<uint64_t>(slot_));
    EXPECT_EQ(co_await registering, 0);
    device_ = request.data.loan()->copy_file();
    answered_.store(true);
    co_return kOk;
  }

  void run() override { ring_->submit(*this); }
  // The driver looks at the slot only, not at whose buffer it is (S117).
  void prepare(io_uring_sqe& sqe) override {
    sqe = ublk::io_command_sqe(
        device_, kUnregisterIoBuf,
        {.queue_id = 0, .tag = 0, .result = 0, .address = static_cast<uint64_t>(slot_)});
  }
  void complete(int32_t result, uint32_t) override {
    EXPECT_EQ(result, 0);
    ring_->release_slot(slot_);
  }

  Ring* ring_ = nullptr;
  File device_;
  int slot_ = Loan::kNoSlot;
  std::atomic<bool> answered_ = false;
};

TEST_P(OnUblkByHand, S121_S122_P4_TheDriverEndsARequestWithItsLastSlot) {
  auto& server = serve_with<KeepsRegistered>();
  memory(kBytes, true);
  auto writing = std::async(std::launch::async, [&] { return write(0, kBytes); });
  while (!server.answered()) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(writing.wait_for(100ms), std::future_status::timeout);
  server.unregister();
  EXPECT_EQ(writing.get(), 0);
}

std::vector<Kind> ublk_kinds(bool by_hand_only) {
  std::vector<Kind> kinds = kinds_here();
  std::erase_if(kinds, [&](Kind kind) {
    return kind != Kind::ublk_by_hand && (by_hand_only || kind != Kind::ublk);
  });
  return kinds;
}

// On this machine there may be none.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(OnUblk);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(OnUblkByHand);
INSTANTIATE_TEST_SUITE_P(Providers, OnUblk, testing::ValuesIn(ublk_kinds(false)),
                         [](const auto& kind) { return to_string(kind.param); });
INSTANTIATE_TEST_SUITE_P(Providers, OnUblkByHand, testing::ValuesIn(ublk_kinds(true)),
                         [](const auto& kind) { return to_string(kind.param); });

}  // namespace
}  // namespace sluice::test
