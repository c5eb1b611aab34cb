#include "frontend/fuse/splice_queue.hpp"
#include "ring/raw_operation.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>

namespace sluice::fuse {
namespace {

constexpr uint32_t kHeadBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);

// All of it or nothing.
bool read_whole(const Pipe& pipe, std::byte* place, size_t length) {
  for (size_t done = 0; done < length;) {
    const ssize_t got = read(pipe.read_end.number(), place + done, length - done);
    if (got <= 0) return false;
    done += static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

struct SpliceQueue::SpliceTag {
  Tag tag;
  Pipe pipe;
  RawOperation* polling = nullptr;  // while it is under way
  std::coroutine_handle<> parked;
};

// Waits until this tag is to read.
struct SpliceQueue::Turn {
  SpliceQueue& queue;
  SpliceTag& tag;
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) {
    tag.parked = coroutine;
    queue.parked_.push_back(&tag);
    queue.wake_reader();
  }
  void await_resume() const {}
};

Result<std::unique_ptr<SpliceQueue>> SpliceQueue::create(const Setup& setup, Ring& ring, FileIo& io,
                                                         QueueListener& listener) {
  std::unique_ptr<SpliceQueue> queue(new SpliceQueue(setup, ring, io, listener));
  if (auto reserved = queue->memory_.reserve(setup.depth, setup.max_io_bytes); !reserved) {
    return std::unexpected(reserved.error());
  }
  for (uint16_t i = 0; i < setup.depth; ++i) {
    auto pipe = ring.pipes().make();
    if (!pipe) return std::unexpected(pipe.error());
    queue->tags_[i].pipe = std::move(*pipe);
  }
  return queue;
}

SpliceQueue::SpliceQueue(const Setup& setup, Ring& ring, FileIo& io, QueueListener& listener)
    : setup_(setup),
      ring_(ring),
      io_(io),
      listener_(listener),
      tags_(std::make_unique<SpliceTag[]>(setup.depth)) {
  parked_.reserve(setup.depth);
}

SpliceQueue::~SpliceQueue() = default;

void SpliceQueue::start() {
  live_tags_ = setup_.depth;
  for (uint16_t i = 0; i < setup_.depth; ++i) {
    tags_[i].tag.set_up(ring_, memory_, setup_.id, i);
    tags_[i].tag.pipe = &tags_[i].pipe;
    serve(tags_[i]);
  }
}

void SpliceQueue::stop() {
  if (stopping_) return;
  stopping_ = true;
  for (uint16_t i = 0; i < setup_.depth; ++i) {
    if (tags_[i].polling != nullptr) ring_.cancel(*tags_[i].polling);
  }
  wake_reader();
}

void SpliceQueue::list_in_flight(std::vector<InFlight>& found) const {
  for (uint16_t i = 0; i < setup_.depth; ++i) tags_[i].tag.list_in_flight(i, found);
}

Service SpliceQueue::serve(SpliceTag& splice_tag) {
  Tag& tag = splice_tag.tag;
  while (true) {
    Turn turn{*this, splice_tag};
    co_await turn;
    if (stopping_) break;
    int result = receive(splice_tag);
    while (result == -EAGAIN && !stopping_) {
      io_uring_sqe sqe{};
      io_uring_prep_poll_add(&sqe, setup_.device, POLLIN);
      RawOperation polling(ring_, sqe);
      splice_tag.polling = &polling;
      [[maybe_unused]] const int32_t ready = co_await polling;
      splice_tag.polling = nullptr;
      if (!stopping_) result = receive(splice_tag);
    }
    reading_ = false;
    if (!accept(splice_tag, result)) continue;
    wake_reader();
    tag.begun = counters_.begin();
    Status status;
    {  // its frame goes before the arena is emptied
      Task serving = io_.serve(tag.request, tag);
      status = co_await serving;
    }
    if (!status.ok()) tag.answer = {.error = status.error()};
    answer(splice_tag);
    io_.conclude(tag, counters_);
  }
  if (--live_tags_ == 0) listener_.finished();
}

// The next request: its head in memory as CopyQueue has it, the data of a WRITE in the pipe.
int SpliceQueue::receive(SpliceTag& splice_tag) const {
  Tag& tag = splice_tag.tag;
  const ssize_t got = splice(setup_.device, nullptr, splice_tag.pipe.write_end.number(), nullptr,
                             size_t{kHeadBytes} + setup_.max_io_bytes, SPLICE_F_NONBLOCK);
  if (got < 0) return -errno;
  const auto length = static_cast<size_t>(got);
  std::byte* const head = tag.data - kHeadBytes;
  fuse_in_header header{};
  bool whole = length >= sizeof(header) && read_whole(splice_tag.pipe, head, sizeof(header));
  std::memcpy(&header, head, sizeof(header));
  tag.data_in_pipe = header.opcode == FUSE_WRITE && length > kHeadBytes;
  const size_t rest = (tag.data_in_pipe ? kHeadBytes : length) - sizeof(header);
  whole = whole && read_whole(splice_tag.pipe, head + sizeof(header), rest);
  return whole ? static_cast<int>(length) : -EPROTO;
}

// Whether a request has come. If none ever will, everybody is told.
bool SpliceQueue::accept(SpliceTag& splice_tag, int result) {
  Tag& tag = splice_tag.tag;
  if (result >= 0) {
    const auto call = parse_call({tag.data - kHeadBytes, static_cast<size_t>(result)});
    if (call) {
      tag.call = *call;
      return true;
    }
  }
  ring_.pipes().drain(splice_tag.pipe);
  if (result == -ENODEV || result == -ECONNABORTED) {
    stop();
  } else if (result != -EAGAIN && result != -EINTR && result != -ENOENT) {
    spdlog::error("cannot read a request from /dev/fuse: {}", result);
  }
  return false;
}

void SpliceQueue::answer(SpliceTag& splice_tag) const {
  Tag& tag = splice_tag.tag;
  if (tag.data_in_pipe) ring_.pipes().drain(splice_tag.pipe);
  if (!tag.answer.expected) return;
  const fuse_out_header header{
      .len = static_cast<uint32_t>(sizeof(fuse_out_header)) + tag.answer.length,
      .error = -tag.answer.error,
      .unique = tag.call.header.unique};
  if (tag.answer.piped) {
    if (answer_from_pipe(splice_tag, header)) return;
    tag.answer = {.error = EIO};
    answer(splice_tag);
    return;
  }
  std::byte* const place = tag.answer_body() - sizeof(header);
  std::memcpy(place, &header, sizeof(header));
  const ssize_t written = write(setup_.device, place, header.len);
  // ENOENT: whoever asked has gone.
  if (written < 0 && errno != ENOENT) spdlog::debug("an answer was refused: {}", errno);
}

// False where the bytes cannot be had: nothing has been said yet.
bool SpliceQueue::answer_from_pipe(SpliceTag& splice_tag, const fuse_out_header& header) const {
  Pipe& pipe = splice_tag.pipe;
  const bool begun = write(pipe.write_end.number(), &header, sizeof(header)) == sizeof(header);
  const Status status = ring_.pipes().collect(*splice_tag.tag.loan, pipe);
  if (!begun || !status.ok()) {
    spdlog::error("the pages of a READ cannot be collected: {}", status.error());
    ring_.pipes().drain(pipe);
    return false;
  }
  const ssize_t written = splice(pipe.read_end.number(), nullptr, setup_.device, nullptr,
                                 header.len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (written < 0 && errno != ENOENT) spdlog::debug("an answer was refused: {}", errno);
  ring_.pipes().drain(pipe);
  return true;
}

// The one parked last, whose buffer is still in the cache; at the end, all.
void SpliceQueue::wake_reader() {
  while ((stopping_ || !reading_) && !parked_.empty()) {
    reading_ = true;
    ring_.ready().push(parked_.back()->parked);
    parked_.pop_back();
  }
}

}  // namespace sluice::fuse
