// The columns of the ublk driver's own commands: a request's pages are registered, written to
// /dev/null from the slot, and unregistered.
#include <array>
#include <deque>
#include <optional>
#include <vector>

#include "bench/lending_device.hpp"
#include "core/task.hpp"
#include "frontend/ublk/io_command.hpp"
#include "frontend/ublk/register_use_release.hpp"

namespace sluice::bench {
namespace {

io_uring_sqe write_from_slot(uint16_t slot) {
  io_uring_sqe sqe{};
  io_uring_prep_write_fixed(&sqe, LendingDevice::kNull.number, nullptr, kIoBytes, 0, slot);
  sqe.flags = IOSQE_FIXED_FILE;
  return sqe;
}

io_uring_sqe buffer_command(unsigned long op, uint16_t tag) {
  return ublk::io_command_sqe(
      LendingDevice::kCharDevice, op,
      {.queue_id = HeldRequests::kQueue, .tag = tag, .result = 0, .address = tag});
}

class Linked final : public Column {
 public:
  explicit Linked(std::unique_ptr<LendingDevice> device)
      : device_(std::move(device)), tasks_(device_->places()) {}

  bool run_batch() override {
    for (uint32_t tag = 0; tag < device_->places(); ++tag) {
      tasks_[tag].emplace(serve(device_->place(tag).request));
    }
    bool good = true;
    for (std::optional<Task>& task : tasks_) {
      while (!task->finished()) device_->ring().run_once(true);
      good &= task->status().ok();
      task.reset();
    }
    return good;
  }
  Counts counts() const override { return device_->counts(); }

 private:
  Task serve(Request& request) {
    ublk::RegisterUseRelease command(*request.ring,
                                     {.char_device = LendingDevice::kCharDevice,
                                      .queue = request.queue,
                                      .tag = request.tag,
                                      .slot = request.tag},
                                     write_from_slot(request.tag));
    static_cast<void>(co_await command);
    const bool good = command.results() == std::array<int32_t, 3>{0, kIoBytes, 0};
    co_return good ? kOk : Status::from_errno(EIO);
  }

  std::unique_ptr<LendingDevice> device_;
  std::vector<std::optional<Task>> tasks_;
};

// An operation; only the batch waits for its result.
class Step final : public Completion {
 public:
  Step(const io_uring_sqe& sqe, int32_t expected) : sqe_(sqe), expected_(expected) {}
  void prepare(io_uring_sqe& sqe) override { sqe = sqe_; }
  void complete(int32_t result, uint32_t) override { good_ = result == expected_; }
  bool good() const { return good_; }

 private:
  const io_uring_sqe sqe_;
  const int32_t expected_;
  bool good_ = false;
};

class Batches final : public Column {
 public:
  explicit Batches(std::unique_ptr<LendingDevice> device) : device_(std::move(device)) {
    for (uint16_t tag = 0; tag < device_->places(); ++tag) {
      steps_[0].emplace_back(buffer_command(ublk::abi::kRegisterIoBuf, tag), 0);
      steps_[1].emplace_back(write_from_slot(tag), static_cast<int32_t>(kIoBytes));
      steps_[2].emplace_back(buffer_command(ublk::abi::kUnregisterIoBuf, tag), 0);
    }
  }

  bool run_batch() override {
    bool good = true;
    Ring& ring = device_->ring();
    const uint32_t others = ring.in_flight();
    for (std::deque<Step>& batch : steps_) {
      for (Step& step : batch) ring.submit(step);
      while (ring.in_flight() != others) ring.run_once(true);
      for (const Step& step : batch) good &= step.good();
    }
    return good;
  }
  Counts counts() const override { return device_->counts(); }

 private:
  std::unique_ptr<LendingDevice> device_;
  std::array<std::deque<Step>, 3> steps_;  // of each tag
};

template <typename C>
Result<std::unique_ptr<Column>> make(Pages pages, uint32_t depth) {
  if (pages != Pages::ublk) {
    return fail(EOPNOTSUPP, "only the ublk driver registers pages by command");
  }
  auto device = LendingDevice::open_unregistered(depth);
  if (!device) return std::unexpected(device.error());
  return std::make_unique<C>(std::move(*device));
}

}  // namespace

constinit const ColumnType kRegisterUseRelease = {
    .name = "register_link", .title = "register, link", .make = make<Linked>};
constinit const ColumnType kRegisterInBatches = {
    .name = "register", .title = "REGISTER_IO_BUF", .make = make<Batches>};

}  // namespace sluice::bench
