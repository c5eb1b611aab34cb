#include "model/model_run.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace sluice::test {

ModelRun::ModelRun(Stack& stack, Engine& engine, BlockOracle& oracle, uint64_t seed,
                   uint64_t unit_bytes, Range range)
    : stack_(stack),
      engine_(engine),
      oracle_(oracle),
      random_(seed),
      unit_(unit_bytes),
      range_(range) {}

void ModelRun::start(int count) {
  while (count > 0 && failure_.empty()) {
    if (running_.size() < kMostRunning && chance(60)) {
      start_one();
      --count;
    } else if (!running_.empty()) {
      engine_.advance();
    }
    collect();
  }
}

void ModelRun::drain() {
  for (collect(); !running_.empty(); collect()) engine_.advance();
}

void ModelRun::start_one() {
  const Op op = choose_op();
  const std::optional<Range> range = choose_range(op);
  if (!range) return;
  const uint64_t length = range->end - range->begin;
  const bool data = op == Op::read || op == Op::write;
  auto running = std::make_unique<Running>(engine_.ring(), data ? length : 0);
  running->op = op;
  running->fua = (op == Op::write || op == Op::write_zeroes) && chance(15);
  running->offset = range->begin;
  running->length = length;
  submit(std::move(running));
}

Op ModelRun::choose_op() {
  const uint64_t dice = number(0, 99);
  if (dice < 35) return Op::read;
  if (dice < 75) return Op::write;
  if (dice < 85) return Op::write_zeroes;
  if (dice < 92 && stack_.geometry().can_discard) return Op::discard;
  if (dice < 95) return Op::prefetch;
  return Op::flush;
}

// A range that does not overlap running requests. Mostly short, sometimes long, rarely empty, and
// often at one of the ends.
std::optional<ModelRun::Range> ModelRun::choose_range(Op op) {
  if (op == Op::flush) return Range{};
  const uint64_t units = (range_.end - range_.begin) / unit_;
  uint64_t length = chance(70) ? number(1, 16) : number(0, 256);
  length = std::min(length, units);
  uint64_t first = number(0, units - length);
  if (chance(10)) first = chance(50) ? 0 : units - length;
  const Range range = {range_.begin + first * unit_, range_.begin + (first + length) * unit_};
  for (const auto& other : running_) {
    const bool both_read = op == Op::read && other->op == Op::read;
    if (both_read || other->op == Op::flush) continue;
    if (range.begin < other->offset + other->length && other->offset < range.end) return {};
  }
  return range;
}

void ModelRun::submit(std::unique_ptr<Running> running) {
  running->begun_at = oracle_.time();
  const std::span<std::byte> memory = running->memory.bytes();
  if (running->op == Op::read) std::ranges::fill(memory, std::byte{0xEE});
  if (running->op == Op::write) {
    const uint64_t written = oracle_.new_number();
    BlockOracle::fill(written, running->offset, memory);
    oracle_.begin(written, running->offset, running->length);
  }
  if (running->op == Op::discard || running->op == Op::write_zeroes) {
    oracle_.begin(0, running->offset, running->length);
  }
  running->task.emplace(stack_.submit(make_request(*running)));
  running_.push_back(std::move(running));
}

Request& ModelRun::make_request(Running& running) {
  if (running.op != Op::read && running.op != Op::write) {
    Request& request = running.tag.make(running.op, running.offset, running.length);
    request.fua = running.fua;
    request.may_unmap = chance(50);
    return request;
  }
  const std::span<std::byte> memory = running.memory.bytes();
  if (Request* const piped = make_piped(running)) return *piped;
  const int slot = free_slot();
  const bool registered =
      !stack_.geometry().needs_bytes && chance(50) && engine_.lend(slot, memory);
  if (registered) running.slot = slot;
  if (registered) running.tag.own_memory = own_memory();
  Request& request = running.tag.make(running.op, running.offset, memory, running.slot);
  request.fua = running.fua;
  return request;
}

File ModelRun::own_memory() {
  static const Descriptor file(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
  return {.number = file.number()};
}

Request* ModelRun::make_piped(Running& running) {
  const bool fits = running.length <= TestTag::kPipedBytesMax && !stack_.geometry().needs_bytes;
  if (!fits || !chance(40)) return nullptr;
  Request* const request =
      running.tag.make_piped(running.op, running.offset, running.memory.bytes());
  if (request == nullptr) return nullptr;
  running.piped = true;
  request->fua = running.fua;
  return request;
}

int ModelRun::free_slot() const {
  int slot = 0;
  while (std::ranges::any_of(running_, [&](const auto& other) { return other->slot == slot; })) {
    ++slot;
  }
  return slot;
}

void ModelRun::collect() {
  for (size_t i = 0; i < running_.size();) {
    if (!running_[i]->task->finished()) {
      ++i;
      continue;
    }
    const std::unique_ptr<Running> finished = std::move(running_[i]);
    running_.erase(running_.begin() + static_cast<long>(i));
    finish(*finished);
  }
}

void ModelRun::finish(Running& running) {
  const Status status = running.task->status();
  running.task.reset();
  if (running.piped && running.op == Op::read && status.ok()) {
    running.tag.collect(running.memory.bytes());
  }
  judge(running, status);
  const bool data = running.op == Op::read || running.op == Op::write;
  if (!data) return;
  if (running.op == Op::read && status.ok() && running.tag.loan.filled_bytes() != running.length) {
    complain(running, "has not filled everything");
  }
  running.tag.finish();
  if (running.tag.returned_count != 1) complain(running, "still holds its loan");
}

void ModelRun::judge(const Running& running, Status status) {
  if (!status.ok()) {
    const bool allowed = errors_allowed_ && status.error() == EIO;
    if (!allowed) complain(running, std::strerror(status.error()));
    return;
  }
  switch (running.op) {
    case Op::read: {
      const std::string wrong = oracle_.check(running.offset, running.memory.bytes());
      if (!wrong.empty()) complain(running, wrong);
      break;
    }
    case Op::write:
    case Op::write_zeroes:
      oracle_.end(running.offset, running.length, running.fua);
      break;
    case Op::flush:
      oracle_.flushed(running.begun_at);
      break;
    case Op::discard:
    case Op::prefetch:
      break;
  }
}

void ModelRun::complain(const Running& running, std::string_view what) {
  if (!failure_.empty()) return;
  failure_ = fmt::format("{}{} of {} bytes at {}: {}", to_string(running.op),
                         running.fua ? " fua" : "", running.length, running.offset, what);
}

void ModelRun::read_all(std::span<std::byte> memory) {
  constexpr uint64_t kBytes = 256 << 10;
  for (uint64_t offset = range_.begin; offset < range_.end && failure_.empty(); offset += kBytes) {
    const uint64_t bytes = std::min(kBytes, range_.end - offset);
    auto running = std::make_unique<Running>(engine_.ring(), bytes);
    Request& request = running->tag.make(Op::read, offset, running->memory.bytes());
    running->offset = offset;
    running->length = bytes;
    running->task.emplace(stack_.submit(request));
    while (!running->task->finished()) engine_.advance();
    if (!running->task->status().ok()) {
      complain(*running, std::strerror(running->task->status().error()));
    }
    std::ranges::copy(running->memory.bytes(), memory.begin() + static_cast<long>(offset));
  }
}

}  // namespace sluice::test
