// The columns of today's Sluice: a request arrives with its pages lent and registered, and one
// operation uses them; and the same with a copy in the server.
#include <optional>
#include <vector>

#include "bench/lending_device.hpp"
#include "core/private_loan.hpp"
#include "core/task.hpp"

namespace sluice::bench {
namespace {

// Common code of both: a batch of requests is received, served, and answered.
class Served : public Column {
 public:
  bool run_batch() override {
    for (uint32_t tag = 0; tag < device_->places(); ++tag) {
      LendingDevice::Place& place = device_->place(tag);
      place.begin();
      tasks_[tag].emplace(serve(place.request));
    }
    bool good = true;
    for (uint32_t tag = 0; tag < device_->places(); ++tag) {
      std::optional<Task>& task = tasks_[tag];
      while (!task->finished()) device_->ring().run_once(true);
      good &= task->status().ok();
      task.reset();
      good &= device_->place(tag).back();
    }
    return good;
  }
  Counts counts() const override { return device_->counts(); }

 protected:
  explicit Served(std::unique_ptr<LendingDevice> device)
      : device_(std::move(device)), tasks_(device_->places()) {}

  uint32_t places() const { return device_->places(); }

 private:
  virtual Task serve(Request& request) = 0;

  std::unique_ptr<LendingDevice> device_;
  std::vector<std::optional<Task>> tasks_;
};

class AutoLoan final : public Served {
 public:
  explicit AutoLoan(std::unique_ptr<LendingDevice> device) : Served(std::move(device)) {}

 private:
  Task serve(Request& request) override {
    auto writing = request.ring->write(LendingDevice::kNull, 0, std::move(request.data));
    co_return co_await writing;
  }
};

class Copied final : public Served {
 public:
  explicit Copied(std::unique_ptr<LendingDevice> device)
      : Served(std::move(device)), memory_(size_t{places()} * kIoBytes) {}

 private:
  Task serve(Request& request) override {
    const auto own = memory_.bytes().subspan(size_t{request.tag} * kIoBytes, kIoBytes);
    auto copying = request.ring->copy_out(std::move(request.data), own);
    const Status copied = co_await copying;
    if (!copied.ok()) co_return copied;
    PrivateLoan loan(Direction::source, own);
    auto writing = request.ring->write(LendingDevice::kNull, 0, loan.view());
    co_return co_await writing;
  }

  Buffer memory_;
};

template <typename S>
Result<std::unique_ptr<Column>> make_served(Pages pages, uint32_t depth) {
  auto device = LendingDevice::open(pages, depth);
  if (!device) return std::unexpected(device.error());
  return std::make_unique<S>(std::move(*device));
}

}  // namespace

constinit const ColumnType kAutoLoan = {
    .name = "auto", .title = "auto loan", .make = make_served<AutoLoan>};
constinit const ColumnType kCopied = {
    .name = "copy", .title = "copy + WRITE", .make = make_served<Copied>};

}  // namespace sluice::bench
