// mirror: what its jobs copy from: memory that is registered with their ring, if there is room.
#include "target/mirror/copy_buffers.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "model/mirror_disks.hpp"
#include "support/open_leaf.hpp"
#include "support/work_folder.hpp"
#include "target/life/control_reactor.hpp"
#include "target/mirror/mirror.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kCopiedPiece = 512 << 10;
constexpr int kCopiedPieces = 8;
constexpr uint64_t kCopiedBytes = kCopiedPieces * kCopiedPiece;

// A leg that counts the transfers of a whole piece.
class CountedLeg final : public Target {
 public:
  explicit CountedLeg(Children child) : Target(std::move(child)) {
    geometry_ = this->child(0).geometry();
    set_name("counted");
  }

  std::atomic<int> registered = 0;
  std::atomic<int> others = 0;

 private:
  Task do_submit(Request& request) override {
    if (request.length == kCopiedPiece && request.data.loan() != nullptr) {
      ++(request.data.loan()->slot() != Loan::kNoSlot ? registered : others);
    }
    return forward(request, child(0), request.offset);
  }
};

// More than there are slots.
struct ManyJobs {
  std::vector<std::unique_ptr<mirror::CopyBuffers>> all{};
  std::vector<bool> registered{};

  Task copy(Request& request) {
    for (int i = 0; i < 40; ++i) {
      all.push_back(std::make_unique<mirror::CopyBuffers>(4096, 1));
      const Status begun = all.back()->begin(*request.ring);
      if (!begun.ok()) co_return begun;
      auto taking = all.back()->take();
      PooledBuffer buffer = co_await taking;
      const View view = buffer.lend(Direction::destination, 4096);
      registered.push_back(view.loan()->slot() != Loan::kNoSlot);
    }
    for (const auto& each : all) each->end();
    co_return kOk;
  }
};

class MirrorThatCopies {
 public:
  MirrorThatCopies() {
    const MirrorShape shape{.data_bytes = kCopiedBytes, .region_bytes = 1 << 20};
    Spec spec{.target = "mirror"};
    Target::Children children;
    auto contents = make_mirror_legs(shape);
    for (size_t i = 0; i < contents.size(); ++i) {
      std::fill_n(contents[i].end() - kCopiedBytes, kCopiedBytes, std::byte{0x5a});
      folder_.write(fmt::format("leg{}", i), contents[i]);
      const std::string text = folder_.path() + fmt::format("/leg{}", i);
      spec.children.push_back(*parse_spec(text, target_vocabulary()));
      Target::Children child;
      child.push_back(open_leaf(text));
      auto leg = std::make_unique<CountedLeg>(std::move(child));
      legs.push_back(leg.get());
      children.push_back(std::move(leg));
    }
    auto mirror =
        std::make_unique<mirror::Mirror>(std::move(children), spec, mirror::MirrorOptions{});
    mirror_ = mirror.get();
    stack_ = std::make_unique<Stack>(std::move(mirror));
    EXPECT_TRUE(stack_->start());
  }
  ~MirrorThatCopies() { stack_->stop(); }

  void control(const Spec& verb) {
    const auto answer = stack_->control("/", verb);
    EXPECT_TRUE(answer) << answer.error().text;
  }
  Spec new_leg() {
    folder_.write("new", std::vector<std::byte>(kCopiedBytes + kMirrorMetadataRoom));
    return *parse_spec(folder_.path() + "/new", target_vocabulary());
  }
  uint64_t number(std::string_view name) const {
    const Health health = mirror_->health();
    return std::ranges::find(health.numbers, name, &HealthNumber::name)->value;
  }
  template <typename Done>
  void wait_until(Done done) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), limit);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  std::vector<CountedLeg*> legs;

 private:
  const WorkFolder folder_;
  mirror::Mirror* mirror_ = nullptr;
  std::unique_ptr<Stack> stack_;
};

TEST(MirrorCopyBuffers, ScrubAndResyncUseRegisteredMemory) {
  MirrorThatCopies mirror;
  mirror.control({.target = "scrub"});
  mirror.wait_until([&] { return mirror.number("scrub_position_bytes") == kCopiedBytes; });
  for (const CountedLeg* const leg : mirror.legs) EXPECT_EQ(leg->registered, kCopiedPieces);

  mirror.control({.target = "add", .children = {mirror.new_leg()}});
  mirror.wait_until([&] { return mirror.number("legs_in_sync") == 3; });
  EXPECT_EQ(mirror.legs[0]->registered + mirror.legs[1]->registered, 3 * kCopiedPieces);
  for (const CountedLeg* const leg : mirror.legs) EXPECT_EQ(leg->others, 0);
}

// Each of these keeps a slot of the ring.
TEST(MirrorCopyBuffers, WithoutRoomInTheTableTheyWorkUnregistered) {
  auto reactor = ControlReactor::start();
  ASSERT_TRUE(reactor);
  ManyJobs jobs;
  const auto copy = [&](Request& request) { return jobs.copy(request); };
  const auto deadline = ControlReactor::Clock::now() + std::chrono::seconds(60);
  EXPECT_TRUE((*reactor)->perform(copy, deadline).ok());
  EXPECT_TRUE(jobs.registered.front());
  EXPECT_FALSE(jobs.registered.back());
}

}  // namespace
}  // namespace sluice::test
