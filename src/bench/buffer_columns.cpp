// The columns of GET_BUF (src/lend/get_buf.hpp): a page is fetched into a slot of the table,
// written to /dev/null from there, and released when the slot gets the next page, as in the mail.
#include <array>
#include <optional>
#include <vector>

#include "bench/lending_device.hpp"
#include "core/task.hpp"
#include "lend/chain.hpp"
#include "lend/get_buf.hpp"

namespace sluice::bench {
namespace {

enum class Form : uint8_t {
  batches,   // all GET_BUF, then all WRITE_FIXED
  linked,    // linked pairs of GET_BUF and WRITE_FIXED
  with_nop,  // as batches, and as many NOPs, which represent an explicit release
};

// A NOP; only the batch waits for its result.
class Nop final : public Completion {
 public:
  void prepare(io_uring_sqe& sqe) override { io_uring_prep_nop(&sqe); }
  void complete(int32_t result, uint32_t) override { result_ = result; }

 private:
  int32_t result_ = 0;
};

class Buffers final : public Column {
 public:
  Buffers(std::unique_ptr<LendingDevice> device, lend::BufferTable table, Form form)
      : device_(std::move(device)), table_(std::move(table)), form_(form), steps_(table_.slots()) {
    for (uint32_t slot = 0; slot < table_.slots(); ++slot) nops_.push_back(std::make_unique<Nop>());
  }
  // Releases the loans before their lenders are destroyed.
  ~Buffers() override {
    for (uint32_t slot = 0; slot < table_.slots(); ++slot) {
      if (table_.holder(slot) != nullptr) static_cast<void>(table_.remove(slot));
    }
  }

  template <Form form>
  static Result<std::unique_ptr<Column>> make(Pages pages, uint32_t depth) {
    // Each slot alternates between two requests: it holds one while the next is fetched.
    auto device = LendingDevice::open(pages, 2 * depth);
    if (!device) return std::unexpected(device.error());
    auto table = lend::BufferTable::create(depth);
    if (!table) return std::unexpected(table.error());
    return std::make_unique<Buffers>(std::move(*device), std::move(*table), form);
  }

  bool run_batch() override {
    turn_ = 1 - turn_;
    for (uint32_t slot = 0; slot < table_.slots(); ++slot) begin(slot);
    const bool served = form_ == Form::linked ? run_pairs() : run_batches();
    for (uint32_t slot = 0; slot < table_.slots(); ++slot) end(slot);
    return served && all_back_;
  }
  Counts counts() const override { return device_->counts(); }

 private:
  struct Steps {
    std::optional<lend::GetBuf> get;
    std::optional<lend::UseBuf> use;
    std::optional<std::array<lend::Step, 2>> linked;
    std::optional<lend::Chain> chain;
    std::optional<Task> task;
  };

  LendingDevice::Place& place(uint32_t slot) { return device_->place(2 * slot + turn_); }

  // The next request arrives at a place whose page has been returned.
  void begin(uint32_t slot) {
    LendingDevice::Place& here = place(slot);
    all_back_ = all_back_ && here.back();
    here.begin();
    device_->provider().begin(here.request);
    Steps& steps = steps_[slot];
    steps.get.emplace(table_, slot, device_->provider(), lend::Provider::position(here.request),
                      kIoBytes, lend::BufferTable::Into::any);
    steps.use.emplace(table_, slot, Segment{0, kIoBytes},
                      lend::Write{.file = LendingDevice::kNull});
  }
  void end(uint32_t slot) {
    LendingDevice::Place& here = place(slot);
    device_->provider().end(here.request);
    here.end();
  }

  bool run_batches() {
    bool good = true;
    for (uint32_t slot = 0; slot < table_.slots(); ++slot) {
      const Task getting = steps_[slot].get->run(place(slot).request);
      good &= getting.finished() && steps_[slot].get->result() == kIoBytes;
    }
    for (uint32_t slot = 0; slot < table_.slots(); ++slot) {
      steps_[slot].task.emplace(steps_[slot].use->run(place(slot).request));
    }
    good &= finish();
    if (form_ == Form::with_nop) run_nops();
    return good;
  }

  bool run_pairs() {
    for (uint32_t slot = 0; slot < table_.slots(); ++slot) {
      Steps& steps = steps_[slot];
      steps.linked.emplace(
          std::array{lend::Step(*steps.get, lend::Link::soft), lend::Step(*steps.use)});
      steps.chain.emplace(*steps.linked);
      steps.task.emplace(steps.chain->run(place(slot).request));
    }
    return finish();
  }

  bool finish() {
    bool good = true;
    for (Steps& steps : steps_) {
      while (!steps.task->finished()) device_->ring().run_once(true);
      good &= steps.use->result() == kIoBytes;
      steps.task.reset();
    }
    return good;
  }

  void run_nops() {
    const uint32_t others = device_->ring().in_flight();
    for (const auto& nop : nops_) device_->ring().submit(*nop);
    while (device_->ring().in_flight() != others) device_->ring().run_once(true);
  }

  std::unique_ptr<LendingDevice> device_;
  lend::BufferTable table_;
  const Form form_;
  std::vector<Steps> steps_;  // of each slot
  std::vector<std::unique_ptr<Nop>> nops_;
  uint32_t turn_ = 0;
  bool all_back_ = true;
};

}  // namespace

constinit const ColumnType kGetBuf = {
    .name = "get_buf", .title = "OP_GET_BUF", .make = Buffers::make<Form::batches>};
constinit const ColumnType kGetBufLinked = {
    .name = "get_buf_link", .title = "GET_BUF, link", .make = Buffers::make<Form::linked>};
constinit const ColumnType kGetBufNop = {
    .name = "get_buf_nop", .title = "GET_BUF + nop", .make = Buffers::make<Form::with_nop>};

}  // namespace sluice::bench
