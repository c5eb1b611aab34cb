// The mirror, used by several reactors at once, while its legs die and come back, are let go, added
// and removed, and compared (T3.19: the requests of a leg end before it does).
//
// Never more than one leg is dead, and never the last one in sync: no request fails.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "frontend/direct/device.hpp"
#include "model/block_oracle.hpp"
#include "model/mirror_disks.hpp"
#include "ring/kernel_ring.hpp"
#include "support/open_leaf.hpp"
#include "support/work_folder.hpp"
#include "target/life/life_call.hpp"
#include "target/mirror/mirror.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

using MirrorBytes = std::vector<std::byte>;

constexpr uint64_t kClients = 4;
constexpr uint64_t kPieceBlocks = 24;  // of one client: no whole number of regions
constexpr auto kRunTime = std::chrono::seconds(4);

// Its child, as long as it lives.
class Mortal final : public Target {
 public:
  explicit Mortal(Children child) : Target(std::move(child)) {
    geometry_ = this->child(0).geometry();
    set_name("mortal");
  }

  std::atomic<int> error = 0;  // of all requests; 0: none

 private:
  Task do_submit(Request& request) override {
    if (const int now = error; now != 0) co_return Status::from_errno(now);
    Request part = request.child(request.offset, request.length);
    part.op = request.op;
    part.data = request.data;
    Task serving = child(0).submit(part);
    const Status status = co_await serving;
    const int now = error;
    co_return now != 0 ? Status::from_errno(now) : status;  // died meanwhile
  }
};

// One request after the other, each in a piece of its own.
class MirrorClient {
 public:
  MirrorClient(direct::Device& device, uint64_t size_bytes, uint64_t index)
      : device_(device), index_(index), random_(index), oracle_(size_bytes) {}

  void run(const std::atomic<bool>& done) {
    while (!done && !testing::Test::HasFailure()) serve_one();
  }

  // Only what this client writes counts.
  std::string check(std::span<const std::byte> disk) const {
    for (uint64_t piece = 0; piece < pieces(); ++piece) {
      const auto bytes = disk.subspan(place(piece), kPieceBlocks * kBlock);
      if (std::string error = oracle_.check(place(piece), bytes); !error.empty()) return error;
    }
    return {};
  }

 private:
  static constexpr uint64_t kBlock = BlockOracle::kBlock;

  uint64_t pieces() const { return oracle_.size_bytes() / (kClients * kPieceBlocks * kBlock); }
  uint64_t place(uint64_t piece) const {
    return (piece * kClients + index_) * kPieceBlocks * kBlock;
  }

  void serve_one() {
    const uint64_t dice = random_() % 32;
    const uint64_t first = random_() % kPieceBlocks;
    const uint64_t offset = place(random_() % pieces()) + first * kBlock;
    const uint64_t length = (1 + random_() % (kPieceBlocks - first)) * kBlock;
    if (dice == 0) {
      EXPECT_EQ(device_.flush().error(), 0);
    } else if (dice < 12) {
      memory_.resize(length);
      EXPECT_EQ(device_.read(offset, memory_).error(), 0);
      EXPECT_EQ(oracle_.check(offset, memory_), "");
    } else {
      const uint64_t number = dice < 28 ? oracle_.new_number() : 0;
      memory_.resize(length);
      BlockOracle::fill(number, offset, memory_);
      oracle_.begin(number, offset, length);
      const Status status = dice < 28   ? device_.write(offset, memory_, dice == 12)
                            : dice < 30 ? device_.write_zeroes(offset, length)
                                        : device_.discard(offset, length);
      EXPECT_EQ(status.error(), 0);
      if (dice < 30) oracle_.end(offset, length, false);
    }
  }

  direct::Device& device_;
  const uint64_t index_;
  std::mt19937_64 random_;
  BlockOracle oracle_;
  MirrorBytes memory_;
};

class MirrorOfFiles {
 public:
  explicit MirrorOfFiles(const MirrorShape& shape) : shape_(shape) {
    Spec spec{.target = "mirror"};
    Target::Children children;
    const auto legs = make_mirror_legs(shape);
    for (size_t i = 0; i < shape.legs; ++i) {
      folder.write(fmt::format("leg{}", i), legs[i]);
      const std::string text = folder.path() + fmt::format("/leg{}", i);
      spec.children.push_back(*parse_spec(text, target_vocabulary()));
      Target::Children child;
      child.push_back(open_leaf(text));
      auto mortal = std::make_unique<Mortal>(std::move(child));
      legs_.push_back(mortal.get());
      children.push_back(std::move(mortal));
    }
    folder.write("new", MirrorBytes(legs.front().size()));
    auto mirror = std::make_unique<mirror::Mirror>(std::move(children), spec,
                                                   mirror::MirrorOptions{.degraded = true});
    mirror_ = mirror.get();
    stack = std::make_unique<Stack>(std::move(mirror));
    const auto started = stack->start();
    EXPECT_TRUE(started) << started.error().text;
  }

  uint64_t number(std::string_view name) const {
    const Health health = mirror_->health();
    return std::ranges::find(health.numbers, name, &HealthNumber::name)->value;
  }
  bool is_whole() const {
    return mirror_->health().state == HealthState::ok && number("resync_left_bytes") == 0 &&
           number("dirty_bytes") == 0;
  }
  size_t legs() const { return mirror_->named_children().size(); }

  // The reason for a failure; empty: none.
  std::string control(const std::string& name, std::string_view option = {},
                      OptionValue value = {}) {
    Spec verb{.target = name};
    if (!option.empty()) verb.set(option, std::move(value));
    const auto answer = stack->control("/", verb);
    return answer ? "" : answer.error().text;
  }
  std::string add(const std::string& file) {
    Spec verb{.target = "add"};
    verb.children.push_back(*parse_spec(folder.path() + "/" + file, target_vocabulary()));
    const auto answer = stack->control("/", verb);
    return answer ? "" : answer.error().text;
  }

  void kill(size_t leg, int error) { legs_[leg]->error = error; }
  void revive() {
    for (Mortal* const leg : legs_) leg->error = 0;
  }
  // Those that were there at the beginning.
  MirrorBytes contents(size_t leg) const { return folder.read(fmt::format("leg{}", leg)); }

  const WorkFolder folder;
  std::unique_ptr<Stack> stack;

 private:
  const MirrorShape shape_;
  std::vector<Mortal*> legs_;
  mirror::Mirror* mirror_ = nullptr;
};

class LegsChange {
 public:
  LegsChange(MirrorOfFiles& mirror, size_t legs) : mirror_(mirror), first_legs_(legs) {}

  void step() {
    const uint64_t dice = random_() % 20;
    const std::string leg = std::to_string(random_() % mirror_.legs() + 1);
    if (dice < 5) {
      if (is_one_dead_ || mirror_.number("legs_in_sync") < 2) return revive();
      constexpr int kErrors[] = {EIO, ENOSPC, ENODEV, ENOTCONN};
      is_one_dead_ = true;
      mirror_.kill(random_() % first_legs_, kErrors[random_() % 4]);
    } else if (dice < 10) {
      revive();
    } else if (dice < 12) {
      if (!is_one_dead_) mirror_.control("fail", "leg", leg);
    } else if (dice < 16) {
      mirror_.control("readd", "leg", leg);
    } else if (dice < 18) {
      mirror_.control("scrub", dice == 16 ? "repair" : "cancel", true);
    } else if (mirror_.legs() > first_legs_) {
      remove_new();
    } else if (const std::string why = mirror_.add("new"); !why.empty()) {
      ++refused;
    } else {
      ++added;
    }
  }

  // It is the last one.
  void remove_new() {
    const std::string leg = std::to_string(mirror_.legs());
    if (!is_one_dead_) mirror_.control("fail", "leg", leg);
    mirror_.control("remove", "leg", leg);
  }

  void revive() {
    mirror_.revive();
    is_one_dead_ = false;
  }

  int added = 0;
  int refused = 0;

 private:
  MirrorOfFiles& mirror_;
  const size_t first_legs_;
  std::mt19937_64 random_{std::random_device()()};
  bool is_one_dead_ = false;
};

TEST(MirrorModel, SeveralThreads) {
  const MirrorShape shape{.legs = 3, .data_bytes = 4 << 20};
  MirrorOfFiles mirror(shape);
  if (HasFailure()) return;
  auto device = direct::Device::create(*mirror.stack, {.queues = 3, .depth = 4});
  ASSERT_TRUE(device) << device.error().text;
  std::vector<std::unique_ptr<MirrorClient>> clients;
  std::vector<std::thread> threads;
  std::atomic<bool> done = false;
  for (uint64_t i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<MirrorClient>(**device, shape.data_bytes, i));
    threads.emplace_back([&client = *clients.back(), &done] { client.run(done); });
  }
  LegsChange changes(mirror, shape.legs);
  const auto end = std::chrono::steady_clock::now() + kRunTime;
  while (std::chrono::steady_clock::now() < end && !HasFailure()) {
    changes.step();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  done = true;
  for (std::thread& thread : threads) thread.join();

  changes.revive();
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (mirror.legs() > shape.legs && std::chrono::steady_clock::now() < limit) {
    changes.remove_new();
  }
  for (int i = 0; !mirror.is_whole(); ++i) {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << mirror.stack->health().reason;
    mirror.control("readd", "leg", std::to_string(i % static_cast<int>(shape.legs) + 1));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  fmt::print("[  added   ] {}, refused {}\n", changes.added, changes.refused);
  device->reset();
  mirror.stack->stop();
  const MirrorBytes first = mirror.contents(0);
  for (size_t leg = 0; leg < shape.legs; ++leg) {
    const MirrorBytes bytes = mirror.contents(leg);
    EXPECT_TRUE(record_on_leg(shape, bytes).clean);
    const auto data = data_on_leg(shape, bytes);
    EXPECT_TRUE(std::ranges::equal(data, data_on_leg(shape, first))) << "leg " << leg;
    for (const auto& client : clients) EXPECT_EQ(client->check(data), "");
  }
}

}  // namespace
}  // namespace sluice::test
