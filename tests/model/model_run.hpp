// ModelRun: random concurrent requests on a stack, checked against a BlockOracle.
//
// Concurrent requests do not overlap, unless all of them read: otherwise the result would not be
// known. One thread; several runs may share a stack when each has a range of its own.
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "core/buffer.hpp"
#include "core/descriptor.hpp"
#include "model/block_oracle.hpp"
#include "model/engine.hpp"
#include "support/test_tag.hpp"
#include "target/stack.hpp"

namespace sluice::test {

class ModelRun {
 public:
  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  // Offsets and lengths are multiples of `unit_bytes`, and inside `range`.
  ModelRun(Stack& stack, Engine& engine, BlockOracle& oracle, uint64_t seed, uint64_t unit_bytes,
           Range range);
  ~ModelRun() { drain(); }

  // From now on requests may fail with EIO.
  void allow_errors() { errors_allowed_ = true; }

  // Starts requests and waits for others, until `count` have been started or an error was found.
  void start(int count);
  void drain();
  // Reads the range into `memory`, whose offsets are those of the device. Nothing else is running.
  void read_all(std::span<std::byte> memory);

  // The first error; empty if there is none.
  const std::string& failure() const { return failure_; }

 private:
  struct Running {
    Running(Ring& ring, uint64_t length) : tag(ring), memory(length) {}
    TestTag tag;
    Buffer memory;
    Op op = Op::read;
    bool fua = false;
    uint64_t offset = 0;
    uint64_t length = 0;
    uint64_t begun_at = 0;
    int slot = Loan::kNoSlot;
    bool piped = false;
    std::optional<Task> task;  // destroyed first
  };

  void start_one();
  std::optional<Range> choose_range(Op op);
  Op choose_op();
  void submit(std::unique_ptr<Running> running);
  Request& make_request(Running& running);
  Request* make_piped(Running& running);
  int free_slot() const;
  static File own_memory();
  void collect();
  void finish(Running& running);
  void judge(const Running& running, Status status);
  void complain(const Running& running, std::string_view what);

  uint64_t number(uint64_t least, uint64_t most) { return least + random_() % (most - least + 1); }
  bool chance(uint64_t percent) { return random_() % 100 < percent; }

  static constexpr size_t kMostRunning = 12;

  Stack& stack_;
  Engine& engine_;
  BlockOracle& oracle_;
  std::mt19937_64 random_;
  const uint64_t unit_;
  const Range range_;
  std::vector<std::unique_ptr<Running>> running_;
  bool errors_allowed_ = false;
  std::string failure_;
};

}  // namespace sluice::test
