#include "target/mirror/write_behind.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <tuple>

#include "core/gather.hpp"
#include "core/log.hpp"
#include "core/private_loan.hpp"

namespace sluice::mirror {
namespace {

constexpr std::chrono::milliseconds kPause{1};
constexpr size_t kPieceMost = 1 << 20;

}  // namespace

Mirror::WriteBehind::WriteBehind(Mirror& mirror, Ring& ring, size_t bytes)
    : mirror_(mirror),
      ring_(ring),
      bytes_(bytes),
      piece_bytes_(std::min(kPieceMost, bytes / 2)),
      memory_(std::make_unique_for_overwrite<std::byte[]>(bytes)),
      entries_(std::make_unique<Entry[]>(kEntries)),
      life_(ring) {}

Mirror::WriteBehind::~WriteBehind() { assert(!sending_ && "it is ended first"); }

// --- Requests

Task Mirror::WriteBehind::append(Request& request) {
  if (request.op != Op::write || request.length <= piece_bytes_) {
    Task appending = append_piece(request);
    co_return co_await appending;
  }
  for (uint64_t done = 0; done < request.length;) {
    const uint64_t bytes = std::min<uint64_t>(request.length - done, piece_bytes_);
    Request piece = request.child(request.offset + done, bytes);
    piece.data = request.data.slice(static_cast<uint32_t>(done), static_cast<uint32_t>(bytes),
                                    *request.arena);
    Task appending = append_piece(piece);
    if (const Status appended = co_await appending; !appended.ok()) co_return appended;
    done += bytes;
  }
  co_return kOk;
}

Task Mirror::WriteBehind::append_piece(Request& request) {
  uint64_t number = 0;
  bool has_waited = false;
  while (!reserve(request, number)) {
    if (!std::exchange(has_waited, true)) waits_.fetch_add(1);
    auto pause = request.ring->sleep(kPause);
    std::ignore = co_await pause;
  }
  Entry& own = entry(number);
  Status copied;
  if (own.op == Op::write) {
    auto copying = request.ring->copy_out(request.data, {&memory_[own.place], own.data});
    copied = co_await copying;
    copied_bytes_.fetch_add(request.length);
  }
  if (!copied.ok()) own.op = Op::flush;  // in its place: what is not known is not sent
  make_ready(number);
  co_return copied;
}

// The data of one entry is in one piece.
bool Mirror::WriteBehind::reserve(const Request& request, uint64_t& number) {
  const size_t data = request.op == Op::write ? request.length : 0;
  const std::scoped_lock guard(mutex_);
  number = begun_;
  if (number - ended_ == kEntries) return false;
  const bool wraps = data > bytes_ - end_;
  const size_t unused = wraps ? bytes_ - end_ : 0;
  if (data + unused > bytes_ - used_) return false;
  if (wraps) end_ = 0;
  const bool zeroes = request.op == Op::discard || request.op == Op::write_zeroes;
  entry(number) = {.op = zeroes ? Op::write_zeroes : request.op,
                   .fua = request.fua,
                   .may_unmap = request.may_unmap || request.op == Op::discard,
                   .offset = request.offset,
                   .length = request.op == Op::flush ? 0 : request.length,
                   .data = data,
                   .place = end_,
                   .taken = data + unused};
  end_ += data;
  used_ += data + unused;
  waiting_bytes_ += data;
  begun_ = number + 1;
  if (request.op == Op::flush) return true;
  Regions& regions = mirror_.intents_->regions();
  regions.begin_write(regions.region_of(request.offset),
                      regions.last_of(request.offset, request.length));
  return true;
}

void Mirror::WriteBehind::make_ready(uint64_t number) {
  const std::scoped_lock guard(mutex_);
  entry(number).ready = true;
  if (sending_ || number != ended_) return;  // the one before wakes it
  sending_ = true;
  ring_.post(*this);
}

Task Mirror::WriteBehind::drain(Request& request) {
  const uint64_t until = begun_;
  while (ended_ < until) {
    progress_.reset();
    if (ended_ >= until) break;
    Event::Wait wait(progress_, *request.ring);
    co_await wait;
  }
  co_return kOk;
}

Task Mirror::WriteBehind::end(Request& request) {
  using Clock = std::chrono::steady_clock;
  bool has_waited = false;
  for (const auto begun = Clock::now(); is_sending();) {
    const LegSet late = mirror_.later(mirror_.members());
    if (!has_waited && late != 0 && Clock::now() - begun > kEndMost) {
      has_waited = true;
      log().warn(
          "{}: {} bytes are dropped that {} did not take in time: they are copied at the "
          "next start",
          mirror_.name(), waiting_bytes(), mirror_.leg(first_of(late)).label);
      Task leaving = mirror_.membership_.let_go(request, late, mirror_.members().in_sync());
      std::ignore = co_await leaving;
    }
    auto pause = request.ring->sleep(kPause);
    std::ignore = co_await pause;
  }
  co_return kOk;
}

bool Mirror::WriteBehind::is_sending() {
  const std::scoped_lock guard(mutex_);
  return sending_;
}

// --- The coroutine that sends, on the control reactor

void Mirror::WriteBehind::run() { send(); }

Service Mirror::WriteBehind::send() {
  while (const size_t count = next_batch()) {
    {
      Task sending = send_batch(life_.request, count);
      std::ignore = co_await sending;
    }
    life_.arena.reset();
    release(count);
    progress_.set(ring_);
  }
}

// 0: there is none, and the next one that is ready begins again.
size_t Mirror::WriteBehind::next_batch() {
  const std::scoped_lock guard(mutex_);
  size_t count = 0;
  size_t bytes = 0;
  while (count < kBatch && ended_ + count < begun_) {
    const Entry& next = entry(ended_ + count);
    if (!next.ready) break;  // its data is being copied
    const bool is_alone = next.op == Op::flush || next.fua;
    const bool is_too_much = bytes + next.data > kBatchBytes;
    if (count != 0 && (is_alone || is_too_much || !is_apart(next, count))) break;
    ++count;
    bytes += next.data;
    if (is_alone) break;
  }
  sending_ = count != 0;
  return count;
}

// From the first `count` that wait.
bool Mirror::WriteBehind::is_apart(const Entry& next, size_t count) {
  for (uint64_t number = ended_; number < ended_ + count; ++number) {
    const Entry& other = entry(number);
    if (next.offset < other.offset + other.length && other.offset < next.offset + next.length) {
      return false;
    }
  }
  return true;
}

// A leg that fails leaves before anything after is sent to others.
Task Mirror::WriteBehind::send_batch(Request& request, size_t count) {
  LegSet failed = 0;
  const uint64_t first = ended_;
  if (entry(first).op == Op::flush) {
    Task flushing = flush_legs(request, failed);
    std::ignore = co_await flushing;
  } else {
    Gather sending(request, count);
    for (uint64_t number = first; number < first + count; ++number) {
      sending.add(send_entry(request, entry(number), failed));
    }
    std::ignore = co_await sending;
    mirror_.note_write_errors(failed);
  }
  if (failed == 0) co_return kOk;
  Task leaving = mirror_.membership_.let_go(request, failed, mirror_.members().in_sync());
  co_return co_await leaving;
}

Task Mirror::WriteBehind::send_entry(Request& request, const Entry& sent, LegSet& failed) {
  const LegSet legs = mirror_.later(mirror_.members());
  PrivateLoan loan(Direction::source, std::span(&memory_[0] + sent.place, sent.data));
  Request whole = request.child(sent.offset, sent.length);
  if (sent.op == Op::write) whole.data = loan.view();
  whole.op = sent.op;
  whole.fua = sent.fua;
  whole.may_unmap = sent.may_unmap;
  LegParts parts(request, std::popcount(legs));
  for (const size_t index : LegsOf(legs)) {
    parts.add(index, mirror_.leg(index), mirror_.part_for(whole, index));
  }
  const Status first_error = co_await parts.all();
  if (!first_error.ok()) {
    LegSet unable = 0;
    LegSet done = parts.done();
    for (const size_t index : LegsOf(legs & ~done)) {
      const int error = parts.status_of(index).error();
      if (error == EOPNOTSUPP && sent.op != Op::write) unable |= leg_bit(index);
    }
    if (unable != 0) {
      Task zeroing = mirror_.zero_by_hand(whole, unable, done);
      std::ignore = co_await zeroing;
    }
    failed |= legs & ~done;
    if (sent.fua) mirror_.note_losses(failed, parts);
  }
  co_return kOk;
}

Task Mirror::WriteBehind::flush_legs(Request& request, LegSet& failed) {
  const LegSet legs = mirror_.later(mirror_.members());
  Gather flushing(request, kMostLegs);
  for (const size_t index : LegsOf(legs)) flushing.add(mirror_.flush_leg(request, index));
  std::ignore = co_await flushing;
  failed |= legs & mirror_.legs_.lost();
  co_return kOk;
}

void Mirror::WriteBehind::release(size_t count) {
  const std::scoped_lock guard(mutex_);
  for (uint64_t number = ended_; number < ended_ + count; ++number) {
    Entry& done = entry(number);
    used_ -= done.taken;
    waiting_bytes_ -= done.data;
    if (done.length != 0) {
      Regions& regions = mirror_.intents_->regions();
      regions.end_write(regions.region_of(done.offset), regions.last_of(done.offset, done.length));
    }
    done.ready = false;
  }
  ended_ += count;
}

}  // namespace sluice::mirror
