#include "image/copy_queue.hpp"

#include <algorithm>
#include <tuple>

#include "core/extents.hpp"
#include "image/zero_runs.hpp"
#include "target/disk.hpp"

namespace sluice::image {
namespace {

// For one question after extents: a file that is all data is searched to the end of it.
constexpr uint64_t kLookBytes = 1 << 30;

}  // namespace

CopyQueue::CopyQueue(const Setup& setup, Ring& ring, Copy& copy, QueueListener& listener)
    : sluice::Queue(listener),
      setup_(setup),
      ring_(ring),
      copy_(copy),
      workers_(std::make_unique<Worker[]>(setup.tags)) {}

Result<void> CopyQueue::start(int) {
  const size_t bytes = setup_.memory.size() / setup_.tags;
  for (uint16_t i = 0; i < setup_.tags; ++i) {
    workers_[i].set_up(ring_, setup_.number, i);
    workers_[i].memory = setup_.memory.subspan(i * bytes, bytes);
  }
  return {};
}

void CopyQueue::begin() {
  if (is_finished()) return;
  working_ = setup_.tags;
  for (Worker& worker : std::span(workers_.get(), setup_.tags)) work(worker);
}

void CopyQueue::stop() {
  copy_.stop();
  if (working_ == 0) finish();
}

void CopyQueue::list_in_flight(std::vector<InFlight>& found) const {
  for (const Worker& worker : std::span(workers_.get(), setup_.tags)) {
    worker.list_in_flight(found);
  }
}

Service CopyQueue::work(Worker& worker) {
  CopyPiece piece;
  while (true) {
    const Copy::Step step = copy_.next(piece);
    if (step == Copy::Step::end) break;
    if (step == Copy::Step::wait) {
      AsyncMutex::Hold hold(copy_.looking(), ring_);
      co_await hold;
      continue;
    }
    worker.begin(counters_);
    {
      Task working = step == Copy::Step::look ? look(worker.request)
                     : piece.kind == CopyPiece::Kind::zero
                         ? clear(worker.request, piece)
                         : copy_data(worker.request, worker, piece);
      const Status status = co_await working;
      if (status.ok() && step == Copy::Step::copy) copy_.end_piece(piece);
    }
    worker.forget(counters_);
  }
  if (--working_ == 0) finish();
}

// The next extents of the source.
Task CopyQueue::look(Request& request) {
  AsyncMutex::Hold hold(copy_.looking(), ring_);
  co_await hold;
  const uint64_t offset = copy_.found_until();
  const uint64_t left = copy_.source().size_bytes() - offset;
  Request asking = request.child(offset, std::min(left, kLookBytes));
  Extents found(asking.length);
  Task finding = copy_.source().stack().disk().target().extents(asking, found);
  const Status status = co_await finding;
  if (status.ok()) {
    copy_.found(found.list());
  } else {
    copy_.fail(offset, copy_.source().explain("look up", offset, status));
  }
  co_return status;
}

Task CopyQueue::copy_data(Request& request, Worker& worker, const CopyPiece& piece) {
  const auto bytes = worker.memory.first(piece.length);
  Request reading = request.child(piece.offset, piece.length);
  reading.op = Op::read;
  Task read = transfer(reading, worker, copy_.source().stack(), bytes);
  const Status status = co_await read;
  if (!status.ok()) {
    copy_.fail(piece.offset, copy_.source().explain("read", piece.offset, status));
    co_return status;
  }
  const uint64_t grain = copy_.plan().grain_bytes;
  for (uint64_t done = 0; done < piece.length;) {
    ZeroRun run{.length = piece.length};
    if (grain != 0) run = first_zero_run(bytes.subspan(done), grain);
    Request writing = request.child(piece.offset + done, uint64_t{run.length});
    // Up to the end of the buffer: see whole_blocks().
    Task copying = copy_run(writing, worker, worker.memory.subspan(done), run.zero);
    if (const Status copied = co_await copying; !copied.ok()) {
      copy_.fail(piece.offset, copy_.target().explain("write", writing.offset, copied));
      co_return copied;
    }
    done += run.length;
  }
  co_return kOk;
}

// Writes the range of `request` with the bytes at the beginning of `bytes`.
Task CopyQueue::copy_run(Request& request, Worker& worker, std::span<std::byte> bytes, bool zero) {
  if (zero && copy_.plan().pieces.target_is_zero) return kOk;
  const uint64_t length = whole_blocks(request.offset, request.length);
  std::ranges::fill(bytes.subspan(request.length, length - request.length), std::byte{0});
  request.length = length;
  if (zero) {
    request.op = Op::write_zeroes;
    return copy_.target().stack().submit(request);
  }
  request.op = Op::write;
  return transfer(request, worker, copy_.target().stack(), bytes.first(length));
}

Task CopyQueue::clear(Request& request, const CopyPiece& piece) {
  Request clearing = request.child(piece.offset, whole_blocks(piece.offset, piece.length));
  clearing.op = Op::write_zeroes;
  Task cleared = copy_.target().stack().submit(clearing);
  const Status status = co_await cleared;
  if (!status.ok()) {
    copy_.fail(piece.offset, copy_.target().explain("write zeroes to", piece.offset, status));
  }
  co_return status;
}

Task CopyQueue::transfer(Request& request, Worker& worker, Stack& stack,
                         std::span<std::byte> bytes) {
  request.data =
      worker.lend(direction_of(request.op), bytes, setup_.registered ? kSlot : Loan::kNoSlot);
  Status status;
  {
    Task serving = stack.submit(request);
    status = co_await serving;
  }
  request.data.drop();
  auto back = worker.loan.back();
  co_await back;
  co_return worker.confirm_read(request, status);
}

// The last block of the target may be longer than what the source has for it.
uint64_t CopyQueue::whole_blocks(uint64_t offset, uint64_t length) const {
  const Geometry& target = copy_.target().geometry();
  const uint64_t mask = target.logical_block_bytes - 1;
  const uint64_t end = offset + length;
  if ((end & mask) == 0 || target.exact_bytes != 0) return length;
  return ((end + mask) & ~mask) - offset;
}

}  // namespace sluice::image
