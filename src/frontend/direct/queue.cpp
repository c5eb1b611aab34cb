#include "frontend/direct/queue.hpp"

#include <spdlog/spdlog.h>

#include <cassert>
#include <limits>
#include <span>

#include "frontend/tag_loan.hpp"

namespace sluice::direct {

// What belongs to one tag for as long as the queue lives.
struct Queue::Tag {
  Io* io = nullptr;
  TagLoan loan;
  Request request;
  Arena arena;
  uint64_t overflows_counted = 0;
  uint64_t begun = 0;  // see QueueCounters
  std::coroutine_handle<> coroutine;
  Tag* next = nullptr;  // in the list of free ones
};

// Waits until the tag has an Io to serve; takes the oldest that waits, if any does.
struct Queue::NextIo {
  Queue& queue;
  Tag& tag;

  bool await_ready() const {
    tag.io = queue.waiting_head_;
    if (tag.io == nullptr) return false;
    queue.waiting_head_ = tag.io->next_;
    return true;
  }
  void await_suspend(std::coroutine_handle<> coroutine) const {
    tag.coroutine = coroutine;
    tag.next = queue.free_;
    queue.free_ = &tag;
  }
  void await_resume() const {}
};

void Io::run() { queue_->submit(*this); }

Queue::Queue(const Setup& setup, Ring& ring, Stack& stack)
    : ring_(ring), stack_(stack), depth_(setup.depth), tags_(std::make_unique<Tag[]>(depth_)) {
  for (uint16_t i = depth_; i-- != 0;) {
    Tag& tag = tags_[i];
    tag.loan.set_up(ring);
    tag.request.ring = &ring;
    tag.request.arena = &tag.arena;
    tag.request.ready = &ring.ready();
    tag.request.queue = setup.id;
    tag.request.tag = i;
    serve(tag);
  }
}

Queue::~Queue() {
  for (const Tag& tag : std::span(tags_.get(), depth_)) {
    assert(tag.io == nullptr && "a queue ends with no I/O in it");
    tag.coroutine.destroy();
  }
}

void Queue::post(Io& io) {
  io.queue_ = this;
  ring_.post(io);
}

void Queue::submit(Io& io) {
  ++submitted_;
  if (free_ != nullptr) {
    Tag& tag = *free_;
    free_ = tag.next;
    tag.io = &io;
    ring_.ready().push(tag.coroutine);
    return;
  }
  io.next_ = nullptr;
  (waiting_head_ == nullptr ? waiting_head_ : waiting_tail_->next_) = &io;
  waiting_tail_ = &io;
}

Service Queue::serve(Tag& tag) {
  while (true) {
    NextIo next{*this, tag};
    co_await next;
    begin(tag);
    Status status;
    {
      Task serving = stack_.submit(tag.request);
      status = co_await serving;
    }
    if (tag.request.has_data()) {
      tag.request.data.drop();
      auto back = tag.loan.back();
      co_await back;
    }
    status = conclude(tag, status);
    Io& io = *std::exchange(tag.io, nullptr);
    --submitted_;
    io.done(status);
  }
}

void Queue::begin(Tag& tag) {
  const Io& io = *tag.io;
  Request& request = tag.request;
  request.op = io.op;
  request.fua = io.fua;
  request.offset = io.offset;
  request.length = request.has_data() ? io.memory.size() : io.length;
  request.where = {};
  tag.begun = counters_.begin();
  counters_.count(request);
  if (!request.has_data()) return;
  if (io.memory.size() > std::numeric_limits<uint32_t>::max()) {
    request.data = View::broken(EINVAL);
    return;
  }
  tag.loan.awaits_return();
  const Direction direction = io.op == Op::read ? Direction::destination : Direction::source;
  request.data = tag.loan->lend_mapped(tag.loan.lender(), direction, io.memory, io.slot);
}

// A read that claims more than was filled would show the program what was in its memory before
// (P-8).
Status Queue::conclude(Tag& tag, Status status) {
  const Request& request = tag.request;
  if (status.ok() && request.op == Op::read && tag.loan->filled_bytes() != request.length) {
    spdlog::critical("a read of {} bytes at {} was reported done with {} bytes filled",
                     request.length, request.offset, tag.loan->filled_bytes());
    status = Status::from_errno(EIO);
  }
  counters_.end(request, tag.begun, status);
  QueueCounters::add(counters_.arena_overflows, tag.arena.overflows() - tag.overflows_counted);
  tag.overflows_counted = tag.arena.overflows();
  tag.arena.reset();
  return status;
}

}  // namespace sluice::direct
