#include "frontend/fuse/splice_queue.hpp"
#include "core/log.hpp"
#include "ring/raw_operation.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace sluice::fuse {
namespace {

constexpr uint32_t kHeadBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);

// True if all bytes were read.
bool read_whole(const Pipe& pipe, std::byte* place, size_t length) {
  for (size_t done = 0; done < length;) {
    const ssize_t got = read(pipe.read_end.number(), place + done, length - done);
    if (got <= 0) return false;
    done += static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

struct SpliceQueue::SpliceTag final : Reader {
  Pipe pipe;
};

Result<std::unique_ptr<SpliceQueue>> SpliceQueue::create(const Setup& setup, Ring& ring, FileIo& io,
                                                         QueueListener& listener) {
  if (auto opened = ring.pipes().open(setup.max_io_bytes); !opened) {
    return std::unexpected(opened.error());
  }
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
    : ReaderQueue(ring, io, listener, setup.depth),
      setup_(setup),
      tags_(std::make_unique<SpliceTag[]>(setup.depth)) {
  swap_risk_ = "the kernel takes memory for the pipes of data path 'splice'";
}

SpliceQueue::~SpliceQueue() = default;

Result<void> SpliceQueue::start(int device) {
  device_ = device;
  for (uint16_t i = 0; i < setup_.depth; ++i) {
    tags_[i].tag.set_up(ring_, setup_.id, i);
    tags_[i].tag.use(memory_, i);
    tags_[i].tag.pipe = &tags_[i].pipe;
    add(tags_[i]);
  }
  for (uint16_t i = 0; i < setup_.depth; ++i) serve(tags_[i]);
  return {};
}

Service SpliceQueue::serve(SpliceTag& splice_tag) {
  Tag& tag = splice_tag.tag;
  while (true) {
    auto its_turn = turn(splice_tag);
    co_await its_turn;
    if (stopping()) break;
    int result = taking() ? receive(splice_tag) : -EAGAIN;
    while (result == -EAGAIN && taking()) {
      io_uring_sqe sqe{};
      io_uring_prep_poll_add(&sqe, device_, POLLIN);
      RawOperation polling(ring_, sqe);
      splice_tag.waiting = &polling;
      [[maybe_unused]] const int32_t ready = co_await polling;
      splice_tag.waiting = nullptr;
      if (taking()) result = receive(splice_tag);
    }
    end_reading();
    if (!accept(splice_tag, result)) continue;
    wake_readers();
    tag.begin(counters_);
    Status status;
    {  // its frame ends before the arena is reset
      Task serving = io_.serve(tag.request, tag);
      status = co_await serving;
    }
    if (!status.ok()) tag.answer = {.error = status.error()};
    answer(splice_tag);
    io_.conclude(tag, counters_);
  }
  remove();
}

// Receives a request: its headers in memory as in CopyQueue, the data of a WRITE in the pipe.
int SpliceQueue::receive(SpliceTag& splice_tag) const {
  Tag& tag = splice_tag.tag;
  const ssize_t got = splice(device_, nullptr, splice_tag.pipe.write_end.number(), nullptr,
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

// True if a request has come. Stops the queue if none can come any more.
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
    log().error("cannot read a request from /dev/fuse: {}", result);
  }
  return false;
}

void SpliceQueue::answer(SpliceTag& splice_tag) const {
  Tag& tag = splice_tag.tag;
  if (tag.data_in_pipe) ring_.pipes().drain(splice_tag.pipe);
  if (!tag.answer.expected) return;
  if (tag.answer.piped) {
    if (answer_from_pipe(splice_tag)) return;
    tag.answer = {.error = EIO};
    answer(splice_tag);
    return;
  }
  const std::span<const std::byte> whole = tag.write_answer();
  const ssize_t written = write(device_, whole.data(), whole.size());
  // ENOENT: the client has gone.
  if (written < 0 && errno != ENOENT) log().debug("an answer was refused: {}", errno);
}

// False: the bytes cannot be collected, and no answer was sent.
bool SpliceQueue::answer_from_pipe(SpliceTag& splice_tag) const {
  const fuse_out_header header = splice_tag.tag.answer_header();
  Pipe& pipe = splice_tag.pipe;
  const bool begun = write(pipe.write_end.number(), &header, sizeof(header)) == sizeof(header);
  const Status status = ring_.pipes().collect(*splice_tag.tag.loan, pipe);
  if (!begun || !status.ok()) {
    log().error("the pages of a READ cannot be collected: {}", status.error());
    ring_.pipes().drain(pipe);
    return false;
  }
  const ssize_t written = splice(pipe.read_end.number(), nullptr, device_, nullptr, header.len,
                                 SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (written < 0 && errno != ENOENT) log().debug("an answer was refused: {}", errno);
  ring_.pipes().drain(pipe);
  return true;
}

}  // namespace sluice::fuse
