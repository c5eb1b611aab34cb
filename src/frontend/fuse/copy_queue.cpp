#include "frontend/fuse/copy_queue.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>

namespace sluice::fuse {
namespace {

// What lies before the data of a WRITE.
constexpr uint32_t kHeadBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);
constexpr uint32_t kReadersMax = 8;

// Results of a read that do not mean the end: a request was withdrawn, or there is none.
bool is_passing(int32_t result) {
  return result == -EINTR || result == -EAGAIN || result == -ENOENT || result == -ENOMEM;
}

}  // namespace

struct CopyQueue::CopyTag {
  Tag tag;
  RawOperation* reading = nullptr;  // while it is under way
  std::coroutine_handle<> parked;
};

// Waits until this tag is to read.
struct CopyQueue::Turn {
  CopyQueue& queue;
  CopyTag& tag;
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) {
    tag.parked = coroutine;
    queue.parked_.push_back(&tag);
    queue.wake_readers();
  }
  void await_resume() const {}
};

Result<std::unique_ptr<CopyQueue>> CopyQueue::create(const Setup& setup, Ring& ring, FileIo& io,
                                                     QueueListener& listener) {
  std::unique_ptr<CopyQueue> queue(new CopyQueue(setup, ring, io, listener));
  if (auto reserved = queue->memory_.reserve(setup.depth, setup.max_io_bytes); !reserved) {
    return std::unexpected(reserved.error());
  }
  return queue;
}

CopyQueue::CopyQueue(const Setup& setup, Ring& ring, FileIo& io, QueueListener& listener)
    : setup_(setup),
      ring_(ring),
      io_(io),
      listener_(listener),
      tags_(std::make_unique<CopyTag[]>(setup.depth)) {
  parked_.reserve(setup.depth);
}

CopyQueue::~CopyQueue() = default;

void CopyQueue::start() {
  live_tags_ = setup_.depth;
  for (uint16_t i = 0; i < setup_.depth; ++i) {
    tags_[i].tag.set_up(ring_, memory_, setup_.id, i);
    tags_[i].tag.answerer = this;
    serve(tags_[i]);
  }
}

void CopyQueue::stop() {
  if (stopping_) return;
  stopping_ = true;
  for (uint16_t i = 0; i < setup_.depth; ++i) {
    if (tags_[i].reading != nullptr) ring_.cancel(*tags_[i].reading);
  }
  wake_readers();
}

void CopyQueue::list_in_flight(std::vector<InFlight>& found) const {
  for (uint16_t i = 0; i < setup_.depth; ++i) tags_[i].tag.list_in_flight(i, found);
}

Service CopyQueue::serve(CopyTag& copy_tag) {
  Tag& tag = copy_tag.tag;
  while (true) {
    Turn turn{*this, copy_tag};
    co_await turn;
    if (stopping_) break;
    auto read = reading(copy_tag);
    copy_tag.reading = &read;
    const int32_t result = co_await read;
    copy_tag.reading = nullptr;
    --readers_;
    if (!accept(copy_tag, result)) continue;
    ++serving_;
    wake_readers();
    tag.begun = counters_.begin();
    Status status;
    {  // its frame goes before the arena is emptied
      Task serving = io_.serve(tag.request, tag);
      status = co_await serving;
    }
    if (!status.ok()) tag.answer = {.error = status.error()};
    int32_t written = tag.follower.done() ? tag.follower.result() : 0;
    if (tag.answer.expected && !tag.follower.done()) {
      RawOperation answering(ring_, answer_sqe(tag));
      written = co_await answering;
    }
    // ENOENT: whoever asked has gone.
    if (written < 0 && written != -ENOENT) spdlog::debug("an answer was refused: {}", -written);
    io_.conclude(tag, counters_);
    --serving_;
  }
  if (--live_tags_ == 0) listener_.finished();
}

// Exactly what the kernel wants room for: the head, and the largest WRITE.
RawOperation CopyQueue::reading(const CopyTag& tag) {
  io_uring_sqe sqe{};
  io_uring_prep_rw(IORING_OP_READ, &sqe, setup_.device.number, tag.tag.data - kHeadBytes,
                   kHeadBytes + setup_.max_io_bytes, 0);
  if (setup_.device.registered) sqe.flags |= IOSQE_FIXED_FILE;
  return {ring_, sqe};
}

io_uring_sqe CopyQueue::answer_sqe(const Tag& tag) const {
  const fuse_out_header header{
      .len = static_cast<uint32_t>(sizeof(fuse_out_header)) + tag.answer.length,
      .error = -tag.answer.error,
      .unique = tag.call.header.unique};
  std::byte* const place = tag.answer_body() - sizeof(header);
  std::memcpy(place, &header, sizeof(header));
  io_uring_sqe sqe{};
  io_uring_prep_rw(IORING_OP_WRITE, &sqe, setup_.device.number, place, header.len, 0);
  if (setup_.device.registered) sqe.flags |= IOSQE_FIXED_FILE;
  return sqe;
}

// Whether a request has come. If none ever will, everybody is told.
bool CopyQueue::accept(CopyTag& copy_tag, int32_t result) {
  Tag& tag = copy_tag.tag;
  if (result >= 0) {
    const auto call = parse_call({tag.data - kHeadBytes, static_cast<size_t>(result)});
    if (!call) {
      spdlog::error("the kernel's FUSE sent {} bytes that are no request", result);
      return false;
    }
    tag.call = *call;
    return true;
  }
  if (is_passing(result) || stopping_) return false;
  if (result != -ENODEV && result != -ECONNABORTED) {
    spdlog::error("cannot read requests from /dev/fuse: {}", std::strerror(-result));
  }
  stop();
  return false;
}

// As many read as there are requests under way, at the least one; at the end, all go.
void CopyQueue::wake_readers() {
  const uint32_t wanted = std::clamp(serving_, 1U, kReadersMax);
  while ((stopping_ || readers_ < wanted) && !parked_.empty()) {
    ++readers_;
    ring_.ready().push(parked_.back()->parked);
    parked_.pop_back();
  }
}

}  // namespace sluice::fuse
