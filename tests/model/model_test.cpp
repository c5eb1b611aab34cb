// Random operations on random stacks, with power cuts and errors, against an oracle.
//
// A failure prints SLUICE_MODEL_SEED=...: with that in the environment each test runs only on that
// device, or with SLUICE_MODEL_DEVICES=N on N devices from that one on, which reproduces crashes.
// With SLUICE_MODEL_STEPS=N every run starts N requests.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "core/log.hpp"
#include "model/model_run.hpp"
#include "model/random_stack.hpp"
#include "target/fault.hpp"

namespace sluice::test {
namespace {

using Faults = RandomStack::Faults;
enum class On { manual_ring, kernel_ring };

uint64_t from_environment(const char* name, uint64_t fallback) {
  const char* const text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 0);
}

// One random stack over files that persist, opened again and again.
class StackDevice {
 public:
  StackDevice(uint64_t seed, Faults faults, On on)
      : random_(seed),
        on_(on),
        unit_(random_() % 4 == 0 || on == On::kernel_ring ? 4096 : 512),
        made_(random_(), faults, unit_, on == On::manual_ring) {
    open(made_.spec());
    if (stack_ != nullptr) oracle_.emplace(stack_->geometry().size_bytes);
  }

  void open(const Spec& spec) {
    auto opened = Stack::open(spec, false);
    ASSERT_TRUE(opened) << opened.error().text;
    stack_ = std::move(*opened);
  }
  std::unique_ptr<Engine> make_engine() {
    if (on_ == On::kernel_ring) return std::make_unique<KernelEngine>(stack_->files());
    return std::make_unique<ManualEngine>(stack_->files(), random_(),
                                          stack_->geometry().logical_block_bytes == 512 ? 1 : 4096);
  }

  // Starts requests on the whole device. With a cut, the power is cut while some are running.
  void run(int steps, bool may_fail, bool cut) {
    const std::unique_ptr<Engine> engine = make_engine();
    ModelRun run(*stack_, *engine, *oracle_, random_(), unit_, whole());
    if (may_fail) run.allow_errors();
    run.start(steps);
    if (cut) {
      run.allow_errors();
      cut_power(stack_->root());
    }
    run.drain();
    ASSERT_EQ(run.failure(), "");
  }

  // The current content of the device.
  std::vector<std::byte> content() {
    const std::unique_ptr<Engine> engine = make_engine();
    ModelRun run(*stack_, *engine, *oracle_, random_(), unit_, whole());
    std::vector<std::byte> bytes(oracle_->size_bytes());
    run.read_all(bytes);
    EXPECT_EQ(run.failure(), "");
    return bytes;
  }

  static void cut_power(Target& target) {
    if (auto* fault = dynamic_cast<Fault*>(&target); fault != nullptr) fault->power_cut();
    for (const auto& child : target.children()) cut_power(*child);
  }

  void close() { stack_.reset(); }
  Stack& stack() { return *stack_; }
  BlockOracle& oracle() { return *oracle_; }
  const RandomStack& made() const { return made_; }
  uint64_t unit() const { return unit_; }
  uint64_t next_seed() { return random_(); }
  ModelRun::Range whole() const { return {0, oracle_->size_bytes()}; }

 private:
  std::mt19937_64 random_;
  const On on_;
  const uint64_t unit_;
  RandomStack made_;
  std::unique_ptr<Stack> stack_;
  std::optional<BlockOracle> oracle_;
};

class Model : public testing::Test {
 protected:
  // Injected errors need no log lines.
  void SetUp() override { log().set_level(spdlog::level::critical); }
  void TearDown() override { log().set_level(spdlog::level::info); }

  // Runs `check` on new random devices.
  template <typename Check>
  void repeat(int devices, Faults faults, On on, Check check) {
    const bool chosen = std::getenv("SLUICE_MODEL_SEED") != nullptr;
    const uint64_t first = from_environment("SLUICE_MODEL_SEED", std::random_device()());
    const uint64_t count =
        from_environment("SLUICE_MODEL_DEVICES", chosen ? 1 : static_cast<uint64_t>(devices));
    fmt::print("[  seeds   ] {} and the {} after it\n", first, count - 1);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t seed = first + i;
      StackDevice device(seed, faults, on);
      SCOPED_TRACE("SLUICE_MODEL_SEED=" + std::to_string(seed) + " is " + device.made().text());
      if (!HasFatalFailure()) check(device);
      if (HasFailure()) return;
    }
  }
  static int steps(int usual) {
    return static_cast<int>(from_environment("SLUICE_MODEL_STEPS", static_cast<uint64_t>(usual)));
  }
};

void check_whole(StackDevice& device, int steps) {
  device.run(steps, false, false);
  const std::vector<std::byte> content = device.content();
  EXPECT_EQ(device.oracle().check(0, content), "");
}

TEST_F(Model, RandomStacks) {
  repeat(60, Faults::none, On::manual_ring,
         [](StackDevice& device) { check_whole(device, steps(400)); });
}

TEST_F(Model, RandomStacksOnTheKernel) {
  repeat(8, Faults::none, On::kernel_ring,
         [](StackDevice& device) { check_whole(device, steps(300)); });
}

// After a cut the files hold the flushed contents, or later ones.
void check_power_cuts(StackDevice& device, int steps) {
  for (int round = 0; round < 4; ++round) {
    device.run(steps, false, true);
    if (testing::Test::HasFailure()) return;
    device.close();
    device.open(device.made().without_faults());
    ASSERT_EQ(device.oracle().adopt(0, device.content()), "");
    device.close();
    device.open(device.made().spec());
  }
}

TEST_F(Model, PowerCuts) {
  repeat(60, Faults::power_cuts, On::manual_ring,
         [](StackDevice& device) { check_power_cuts(device, steps(100)); });
}

TEST_F(Model, PowerCutsOnTheKernel) {
  repeat(6, Faults::power_cuts, On::kernel_ring,
         [](StackDevice& device) { check_power_cuts(device, steps(100)); });
}

// A failed request may have done any part of its work, but does not affect other blocks. If a
// durable write fails, it ends all writes until the stack is opened again.
void check_errors(StackDevice& device, int steps) {
  for (int round = 0; round < 4; ++round) {
    device.run(steps, true, false);
    if (testing::Test::HasFailure()) return;
    device.close();
    device.open(device.made().without_faults());
    const std::vector<std::byte> content = device.content();
    ASSERT_EQ(device.oracle().check(0, content), "");
    ASSERT_EQ(device.oracle().adopt(0, content), "");
    device.close();
    device.open(device.made().spec());
  }
}

TEST_F(Model, Errors) {
  repeat(40, Faults::errors, On::manual_ring,
         [](StackDevice& device) { check_errors(device, steps(100)); });
}

// Several queues, each with a thread and a ring, on parts of one device.
void check_queues(StackDevice& device, int steps, bool cut) {
  constexpr uint64_t kQueues = 3;
  const uint64_t part = device.oracle().size_bytes() / device.unit() / kQueues * device.unit();
  std::vector<BlockOracle> oracles(kQueues, device.oracle());
  std::vector<std::thread> threads;
  threads.reserve(kQueues);
  for (uint64_t i = 0; i < kQueues; ++i) {
    threads.emplace_back([&, i, seed = device.next_seed()] {
      KernelEngine engine(device.stack().files());
      ModelRun run(device.stack(), engine, oracles[i], seed, device.unit(),
                   {i * part, (i + 1) * part});
      if (cut) run.allow_errors();
      run.start(steps);
      run.drain();
      EXPECT_EQ(run.failure(), "");
    });
  }
  if (cut) {
    std::this_thread::sleep_for(std::chrono::milliseconds(device.next_seed() % 50));
    StackDevice::cut_power(device.stack().root());
  }
  for (std::thread& thread : threads) thread.join();
  if (cut) {
    device.close();
    device.open(device.made().without_faults());
  }
  const std::vector<std::byte> content = device.content();
  for (uint64_t i = 0; i < kQueues; ++i) {
    const std::span<const std::byte> mine = std::span(content).subspan(i * part, part);
    if (cut) {
      EXPECT_EQ(oracles[i].adopt(i * part, mine), "");
    } else {
      EXPECT_EQ(oracles[i].check(i * part, mine), "");
    }
  }
}

TEST_F(Model, SeveralQueues) {
  repeat(4, Faults::none, On::kernel_ring,
         [](StackDevice& device) { check_queues(device, steps(300), false); });
}

TEST_F(Model, SeveralQueuesAndAPowerCut) {
  repeat(4, Faults::power_cuts, On::kernel_ring,
         [](StackDevice& device) { check_queues(device, steps(300), true); });
}

}  // namespace
}  // namespace sluice::test
