// FineBlocks under random requests of single sectors, checked against the oracle: with errors and
// power cuts below, which affect whole blocks of 4096 bytes, and with several queues that share
// blocks. SLUICE_MODEL_SEED chooses the device.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "core/descriptor.hpp"
#include "core/log.hpp"
#include "model/model_run.hpp"
#include "support/owning.hpp"
#include "target/fault.hpp"
#include "target/file/file_target.hpp"
#include "target/file/fine_blocks.hpp"

namespace sluice::test {
namespace {

constexpr uint32_t kCoarse = 4096;
constexpr uint64_t kUnit = 512;
constexpr uint64_t kFileBytes = 40 * kCoarse;

// A file of large blocks, opened again and again, and served in small blocks.
class FineDevice {
 public:
  explicit FineDevice(uint64_t seed)
      : random_(seed),
        shape_{.begin_bytes = random_() % 16 * kUnit, .size_bytes = 0},
        alignment_(1U << random_() % 13),
        path_((std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp") +
              std::string("/sluice-model-XXXXXX")) {
    const Descriptor file(mkstemp(path_.data()));
    if (ftruncate(file.number(), kFileBytes) != 0) ADD_FAILURE() << path_;
    shape_.size_bytes = kFileBytes - shape_.begin_bytes - random_() % 16 * kUnit;
    oracle_.emplace(shape_.size_bytes);
  }
  ~FineDevice() { unlink(path_.c_str()); }

  void open(std::optional<FaultOptions> faults) {
    stack_.reset();
    const int file = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    Geometry geometry;
    geometry.size_bytes = kFileBytes;
    geometry.logical_block_bytes = geometry.physical_block_bytes = kCoarse;
    geometry.memory_alignment_bytes = alignment_;
    geometry.can_discard = geometry.can_write_zeroes = geometry.can_fua = true;
    geometry.volatile_cache = true;
    std::unique_ptr<Target> coarse = std::make_unique<FileTarget>(
        FileTarget::Place{
            .name = path_, .file = {.number = 0, .registered = true}, .descriptor = file},
        geometry);
    if (faults) {
      Target::Children below;
      below.push_back(std::move(coarse));
      faults->seed = random_();
      coarse = std::make_unique<Fault>(std::move(below), *faults);
      fault_ = static_cast<Fault*>(coarse.get());
    }
    auto fine = std::make_unique<FineBlocks>(std::move(coarse), shape_);
    stack_ = std::make_unique<Stack>(owning(std::move(fine), file));
  }

  void run(int steps, bool may_fail, bool cut) {
    ManualEngine engine(stack_->files(), random_(), 1);
    ModelRun run(*stack_, engine, *oracle_, random_(), kUnit, whole());
    if (may_fail) run.allow_errors();
    run.start(steps);
    if (cut) {
      run.allow_errors();
      fault_->power_cut();
    }
    run.drain();
    ASSERT_EQ(run.failure(), "");
  }

  std::vector<std::byte> content() {
    open(std::nullopt);
    ManualEngine engine(stack_->files(), random_(), 1);
    ModelRun run(*stack_, engine, *oracle_, random_(), kUnit, whole());
    std::vector<std::byte> bytes(oracle_->size_bytes());
    run.read_all(bytes);
    EXPECT_EQ(run.failure(), "");
    return bytes;
  }

  std::string text() const {
    return fmt::format("{} bytes from {} on, memory aligned to {}", shape_.size_bytes,
                       shape_.begin_bytes, alignment_);
  }
  Stack& stack() { return *stack_; }
  BlockOracle& oracle() { return *oracle_; }
  ModelRun::Range whole() const { return {0, shape_.size_bytes}; }
  uint64_t next_seed() { return random_(); }

 private:
  std::mt19937_64 random_;
  FineBlocks::Shape shape_;
  const uint32_t alignment_;
  std::string path_;
  std::unique_ptr<Stack> stack_;
  Fault* fault_ = nullptr;
  std::optional<BlockOracle> oracle_;
};

class FineBlocksModel : public testing::Test {
 protected:
  void SetUp() override { log().set_level(spdlog::level::critical); }
  void TearDown() override { log().set_level(spdlog::level::info); }

  template <typename Check>
  void repeat(uint64_t devices, Check check) {
    const char* const chosen = std::getenv("SLUICE_MODEL_SEED");
    const uint64_t first =
        chosen == nullptr ? std::random_device()() : std::strtoull(chosen, nullptr, 0);
    if (chosen != nullptr) devices = 1;
    fmt::print("[  seeds   ] {} and the {} after it\n", first, devices - 1);
    for (uint64_t seed = first; seed < first + devices && !HasFailure(); ++seed) {
      FineDevice device(seed);
      SCOPED_TRACE(fmt::format("SLUICE_MODEL_SEED={} is {}", seed, device.text()));
      check(device);
    }
  }
};

TEST_F(FineBlocksModel, RandomRequests) {
  repeat(40, [](FineDevice& device) {
    device.open(std::nullopt);
    device.run(400, false, false);
    EXPECT_EQ(device.oracle().check(0, device.content()), "");
  });
}

TEST_F(FineBlocksModel, PowerCuts) {
  repeat(40, [](FineDevice& device) {
    for (int round = 0; round < 4 && !HasFailure(); ++round) {
      device.open(FaultOptions{.volatile_cache = true,
                               .torn = device.next_seed() % 4 != 0,
                               .fua = device.next_seed() % 2 == 0,
                               .cache_bytes = (device.next_seed() % 32 + 1) * kCoarse});
      device.run(100, false, true);
      ASSERT_EQ(device.oracle().adopt(0, device.content()), "");
    }
  });
}

TEST_F(FineBlocksModel, Errors) {
  constexpr uint32_t kAllButFlush = ~(1U << static_cast<uint32_t>(Op::flush));
  repeat(40, [](FineDevice& device) {
    for (int round = 0; round < 4 && !HasFailure(); ++round) {
      device.open(FaultOptions{.ops = kAllButFlush, .error_rate = 0.02, .short_rate = 0.03});
      device.run(100, true, false);
      const std::vector<std::byte> content = device.content();
      ASSERT_EQ(device.oracle().check(0, content), "");
      ASSERT_EQ(device.oracle().adopt(0, content), "");
    }
  });
}

// Their ranges meet in the middle of blocks.
TEST_F(FineBlocksModel, SeveralQueues) {
  repeat(4, [](FineDevice& device) {
    constexpr uint64_t kQueues = 3;
    device.open(std::nullopt);
    const uint64_t part = device.oracle().size_bytes() / kUnit / kQueues * kUnit;
    std::vector<BlockOracle> oracles(kQueues, device.oracle());
    std::vector<std::thread> threads;
    for (uint64_t i = 0; i < kQueues; ++i) {
      threads.emplace_back([&, i, seed = device.next_seed()] {
        KernelEngine engine(device.stack().files());
        ModelRun run(device.stack(), engine, oracles[i], seed, kUnit, {i * part, (i + 1) * part});
        run.start(600);
        run.drain();
        EXPECT_EQ(run.failure(), "");
      });
    }
    for (std::thread& thread : threads) thread.join();
    const std::vector<std::byte> content = device.content();
    for (uint64_t i = 0; i < kQueues; ++i) {
      EXPECT_EQ(oracles[i].check(i * part, std::span(content).subspan(i * part, part)), "");
    }
  });
}

}  // namespace
}  // namespace sluice::test
