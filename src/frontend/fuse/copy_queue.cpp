#include "frontend/fuse/copy_queue.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/log.hpp"
#include "core/page.hpp"

namespace sluice::fuse {
namespace {

// The headers before the data of a WRITE.
constexpr uint32_t kHeadBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);
constexpr uint32_t kReadersMax = 8;
// Requests that need at most kSmallBytes move to separate pages while kCrowd others are served.
constexpr size_t kSmallBytes = 16 * kPageBytes;
constexpr uint32_t kCrowd = 4;

// Results of a read after which the queue goes on: a request was withdrawn, there is none, or the
// read itself was cancelled.
bool is_passing(int32_t result) {
  return result == -EINTR || result == -EAGAIN || result == -ENOENT || result == -ENOMEM ||
         result == -ECANCELED;
}

}  // namespace

struct CopyQueue::CopyTag final : Reader {
  std::byte* frame() const { return pages.bytes().data() + TagMemory::kHeaderBytes - kHeadBytes; }

  Pages pages;
};

Result<std::unique_ptr<CopyQueue>> CopyQueue::create(const Setup& setup, Ring& ring, FileIo& io,
                                                     QueueListener& listener) {
  std::unique_ptr<CopyQueue> queue(new CopyQueue(setup, ring, io, listener));
  const size_t least = queue->reading_bytes_ + kSmallBytes;
  auto pool = PagePool::create(
      std::max<size_t>(setup.reserve_bytes.value_or(PagePool::kUsualBytes), least));
  if (!pool) return std::unexpected(pool.error());
  queue->pool_ = std::move(*pool);
  queue->swap_risk_ = queue->pool_->risk();
  // Half of the pool is for requests.
  const size_t readers = queue->pool_->bytes() / 2 / queue->reading_bytes_;
  queue->readers_max_ = static_cast<uint32_t>(std::clamp<size_t>(readers, 1, kReadersMax));
  queue->reader_count_.set_max(std::min<uint32_t>(queue->readers_max_, setup.depth));
  return queue;
}

CopyQueue::CopyQueue(const Setup& setup, Ring& ring, FileIo& io, QueueListener& listener)
    : ReaderQueue(ring, io, listener, setup.depth),
      setup_(setup),
      reading_bytes_(TagMemory::kHeaderBytes + size_t{setup.max_io_bytes} + 4 * kBlockBytesMax),
      tags_(std::make_unique<CopyTag[]>(setup.depth)) {}

CopyQueue::~CopyQueue() = default;

Result<void> CopyQueue::start(int) {
  for (uint16_t i = 0; i < setup_.depth; ++i) {
    tags_[i].tag.set_up(ring_, setup_.id, i);
    tags_[i].tag.answerer = this;
    add(tags_[i]);
  }
  for (uint16_t i = 0; i < setup_.depth; ++i) serve(tags_[i]);
  return {};
}

Service CopyQueue::serve(CopyTag& copy_tag) {
  Tag& tag = copy_tag.tag;
  while (true) {
    auto its_turn = turn(copy_tag);
    co_await its_turn;
    if (stopping()) break;
    int32_t result = -EAGAIN;
    if (taking()) {
      auto pages_wait = pool_->take(ring_.ready(), reading_bytes_);
      copy_tag.pages = co_await pages_wait;
    }
    if (taking()) {
      auto read = reading(copy_tag);
      copy_tag.waiting = &read;
      result = co_await read;
      copy_tag.waiting = nullptr;
    }
    end_reading();
    if (!accept(copy_tag, result)) {
      copy_tag.pages.drop();
      continue;
    }
    settle(copy_tag, static_cast<uint32_t>(result));
    ++serving_;
    reader_count_.count(ring_.counters().enters);
    wake_readers();
    tag.begin(counters_);
    Status status;
    {  // its frame ends before the arena is reset
      Task serving = io_.serve(tag.request, tag);
      status = co_await serving;
    }
    if (!status.ok()) tag.answer = {.error = status.error()};
    int32_t written = tag.linked_command.done() ? tag.linked_command.result() : 0;
    if (tag.answer.expected && !tag.linked_command.done()) {
      RawOperation answering(ring_, answer_sqe(tag));
      written = co_await answering;
    }
    // ENOENT: the client has gone.
    if (written < 0 && written != -ENOENT) log().debug("an answer was refused: {}", -written);
    io_.conclude(tag, counters_);
    copy_tag.pages.drop();
    --serving_;
  }
  remove();
}

// The kernel requires exactly this room: for the headers and the largest WRITE.
RawOperation CopyQueue::reading(const CopyTag& tag) {
  io_uring_sqe sqe{};
  io_uring_prep_rw(IORING_OP_READ, &sqe, setup_.device.number, tag.frame(),
                   kHeadBytes + setup_.max_io_bytes, 0);
  if (setup_.device.registered) sqe.flags |= IOSQE_FIXED_FILE;
  return {ring_, sqe};
}

io_uring_sqe CopyQueue::answer_sqe(const Tag& tag) const {
  const std::span<const std::byte> answer = tag.write_answer();
  io_uring_sqe sqe{};
  io_uring_prep_rw(IORING_OP_WRITE, &sqe, setup_.device.number, answer.data(),
                   static_cast<uint32_t>(answer.size()), 0);
  if (setup_.device.registered) sqe.flags |= IOSQE_FIXED_FILE;
  return sqe;
}

// True if a request has come. Stops the queue if none can come any more.
bool CopyQueue::accept(CopyTag& copy_tag, int32_t result) {
  Tag& tag = copy_tag.tag;
  if (result >= 0) {
    const auto call = parse_call({copy_tag.frame(), static_cast<size_t>(result)});
    if (!call) {
      log().error("the kernel's FUSE sent {} bytes that are no request", result);
      return false;
    }
    tag.call = *call;
    return true;
  }
  if (is_passing(result) || stopping()) return false;
  if (result != -ENODEV && result != -ECONNABORTED) {
    log().error("cannot read requests from /dev/fuse: {}", std::strerror(-result));
  }
  stop();
  return false;
}

// Leaves the request only the memory that it needs. A small request would still split memory that
// the next readers need in one piece: while many others are served, it moves to separate pages.
void CopyQueue::settle(CopyTag& copy_tag, uint32_t frame_bytes) {
  Tag& tag = copy_tag.tag;
  const FileIo::Room room = io_.room_for(tag.call);
  const size_t wanted = TagMemory::kHeaderBytes + room.data_bytes + room.edge_bytes;
  const size_t kept = std::min<size_t>(frame_bytes, kHeadBytes + room.data_bytes);
  const std::byte* const before = copy_tag.frame();
  Pages own;
  if (wanted <= kSmallBytes && serving_ >= kCrowd) own = pool_->try_take(wanted);
  if (own) {
    std::swap(copy_tag.pages, own);
    std::memcpy(copy_tag.frame(), before, kept);
  } else {
    copy_tag.pages.trim(wanted);
  }
  tag.call.move(before, {copy_tag.frame(), kept});
  tag.data = copy_tag.frame() + kHeadBytes;
  tag.edges = tag.data + room.data_bytes;
}

// As many as there are requests in flight, and more if they are served at once.
uint32_t CopyQueue::readers_wanted() const {
  return std::clamp(serving_, reader_count_.wanted(), readers_max_);
}

}  // namespace sluice::fuse
