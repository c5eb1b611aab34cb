#include "frontend/direct/queue.hpp"

#include <cassert>
#include <limits>
#include <span>

#include "core/extents.hpp"
#include "reactor/tag.hpp"

namespace sluice::direct {

struct Queue::Tag final : sluice::Tag {
  Io* io = nullptr;
  std::coroutine_handle<> coroutine;
  Tag* next = nullptr;  // in the list of free tags
};

// Waits for an Io to serve; takes the oldest waiting Io, if there is one.
struct Queue::NextIo {
  Queue& queue;
  Tag& tag;

  bool await_ready() const {
    tag.io = queue.waiting_.pop();
    return tag.io != nullptr;
  }
  void await_suspend(std::coroutine_handle<> coroutine) const {
    tag.coroutine = coroutine;
    tag.next = queue.free_;
    queue.free_ = &tag;
  }
  void await_resume() const {}
};

void Io::run() { queue_->submit(*this); }

Queue::Queue(const Setup& setup, Ring& ring, Stack& stack, QueueListener& listener)
    : sluice::Queue(listener),
      setup_(setup),
      ring_(ring),
      stack_(stack),
      tags_(std::make_unique<Tag[]>(setup.depth)) {}

Queue::~Queue() {
  for (const Tag& tag : std::span(tags_.get(), setup_.depth)) {
    assert(tag.io == nullptr && "a queue ends with no I/O in it");
    if (tag.coroutine) tag.coroutine.destroy();
  }
}

Result<void> Queue::start(int) {
  for (uint16_t i = setup_.depth; i-- != 0;) {
    tags_[i].set_up(ring_, setup_.id, i);
    serve(tags_[i]);
  }
  return {};
}

void Queue::stop() {
  stopping_ = true;
  if (submitted_ == 0) finish();
}

void Queue::list_in_flight(std::vector<InFlight>& found) const {
  for (const Tag& tag : std::span(tags_.get(), setup_.depth)) tag.list_in_flight(found);
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
  waiting_.push(io);
}

Service Queue::serve(Tag& tag) {
  while (true) {
    NextIo next{*this, tag};
    co_await next;
    Request& request = tag.request;
    request.op = tag.io->op;
    request.fua = tag.io->fua;
    request.fast_only = tag.io->fast_only;
    request.offset = tag.io->offset;
    request.length = request.has_data() ? tag.io->memory.size() : tag.io->length;
    Extents* const asked = tag.io->extents;
    tag.begin(counters_);
    if (asked == nullptr) counters_.count(request);
    lend(tag);
    Status status;
    {
      Task serving = asked == nullptr ? stack_.submit(request)
                                      : stack_.disk().target().extents(request, *asked);
      status = co_await serving;
    }
    if (request.has_data()) {
      request.data.drop();
      auto back = tag.loan.back();
      co_await back;
    }
    status = tag.confirm_read(request, status);
    if (asked == nullptr) {
      tag.conclude(counters_, status);
    } else {
      tag.forget(counters_);
    }
    Io& io = *std::exchange(tag.io, nullptr);
    --submitted_;
    io.done(status);
    if (stopping_ && submitted_ == 0) finish();
  }
}

void Queue::lend(Tag& tag) {
  Request& request = tag.request;
  if (!request.has_data()) return;
  const Io& io = *tag.io;
  if (io.memory.size() > std::numeric_limits<uint32_t>::max()) {
    request.data = View::broken(EINVAL);
    return;
  }
  request.data = tag.lend(direction_of(io.op), io.memory, io.slot);
}

}  // namespace sluice::direct
