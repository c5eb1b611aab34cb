#include "frontend/fuse/uring_queue.hpp"

#include <fmt/format.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/log.hpp"
#include "core/page_pool.hpp"
#include "core/resident.hpp"
#include "frontend/fuse/uring_command.hpp"

namespace sluice::fuse {

struct UringQueue::Entry {
  Tag tag;
  abi::RequestHeader* header = nullptr;  // in front of the tag's data
  iovec places[2] = {};                  // header and payload, for REGISTER
  int slot = Loan::kNoSlot;              // of the ring's buffer table, for zero copy
  std::coroutine_handle<> suspended;     // while the kernel has a command of this entry
};

// A command of the device, in a wide SQE.
class UringQueue::Command final : public Completion {
 public:
  Command(const UringQueue& queue, uint32_t operation, Entry& entry)
      : queue_(queue), operation_(operation), entry_(entry) {}

  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) {
    entry_.suspended = coroutine;
    queue_.ring_.submit(*this);
  }
  int32_t await_resume() {
    entry_.suspended = nullptr;
    return result_;
  }

  void prepare(io_uring_sqe& sqe) override {
    abi::UringCommand command{
        .commit_id = entry_.header->entry.commit_id, .queue_id = queue_.setup_.id, .pool = {}};
    if (operation_ == abi::kRegister) {
      sqe.addr = reinterpret_cast<uint64_t>(entry_.places);
      sqe.len = 2;  // places
      if (queue_.zero_copy()) command.slot = static_cast<uint16_t>(entry_.slot);
    }
    prepare_uring_command(sqe, queue_.setup_.device, operation_, command);
  }
  void complete(int32_t result, uint32_t) override {
    result_ = result;
    queue_.ring_.ready().push(entry_.suspended);
  }

 private:
  const UringQueue& queue_;
  const uint32_t operation_;
  Entry& entry_;
  int32_t result_ = 0;
};

// Runs after the last answer has been handed to the kernel.
class UringQueue::LastCheck final : public Message {
 public:
  explicit LastCheck(UringQueue& queue) : queue_(queue) {}
  void run() override {
    posted = false;
    if (queue_.serving_ == 0) queue_.finish();
  }

  bool posted = false;

 private:
  UringQueue& queue_;
};

Result<std::unique_ptr<UringQueue>> UringQueue::create(const Setup& setup, Ring& ring, FileIo& io,
                                                       QueueListener& listener) {
  std::unique_ptr<UringQueue> queue(new UringQueue(setup, ring, io, listener));
  TagMemory& memory = queue->memory_;
  const auto reserved = queue->zero_copy() ? memory.reserve_file(setup.depth, setup.max_io_bytes)
                                           : memory.reserve(setup.depth, setup.max_io_bytes);
  if (!reserved) return std::unexpected(reserved.error());
  const uint32_t reserve = setup.reserve_bytes.value_or(PagePool::kUsualBytes);
  queue->swap_risk_ = memory.keep(reserve);
  if (queue->swap_risk_.empty() && queue->zero_copy()) {
    queue->swap_risk_ = keep_within(reserve, setup.pool, setup.pool.size());
  }
  return queue;
}

UringQueue::UringQueue(const Setup& setup, Ring& ring, FileIo& io, QueueListener& listener)
    : Queue(listener),
      setup_(setup),
      ring_(ring),
      io_(io),
      entries_(std::make_unique<Entry[]>(setup.depth)),
      last_check_(std::make_unique<LastCheck>(*this)) {}

// The ring has ended, and with it the commands that were left.
UringQueue::~UringQueue() {
  for (uint16_t i = 0; i < setup_.depth; ++i) {
    if (entries_[i].suspended) entries_[i].suspended.destroy();
  }
}

Result<void> UringQueue::start(int) {
  live_entries_ = setup_.depth;
  for (uint16_t i = 0; i < setup_.depth; ++i) {
    Entry& entry = entries_[i];
    entry.tag.set_up(ring_, setup_.id, i);
    entry.tag.use(memory_, i);
    std::byte* const place = entry.tag.data - TagMemory::kHeaderBytes;
    entry.header = new (place) abi::RequestHeader{};
    entry.places[0] = {entry.header, sizeof(*entry.header)};
    if (!zero_copy()) entry.places[1] = {entry.tag.data, setup_.max_io_bytes};
    serve(entry);
  }
  return {};
}

Result<void> UringQueue::check_taken() const {
  if (live_entries_ != 0 || refusal_ == 0) return {};
  return fail(refusal_, fmt::format("the kernel's FUSE takes no entries of a queue: {}",
                                    std::strerror(refusal_)));
}

void UringQueue::stop() {
  stopping_ = true;
  leave_if_idle();
}

void UringQueue::list_in_flight(std::vector<InFlight>& found) const {
  for (uint16_t i = 0; i < setup_.depth; ++i) entries_[i].tag.list_in_flight(found);
}

Service UringQueue::serve(Entry& entry) {
  Tag& tag = entry.tag;
  if (zero_copy()) {  // never released: the ring ends with its queues
    auto slot_wait = ring_.acquire_slot();
    entry.slot = co_await slot_wait;
  }
  Command registering(*this, abi::kRegister, entry);
  int32_t result = co_await registering;
  if (result < 0) refusal_ = -result;
  // Later requests are not answered: the kernel fails them when the mount is closed.
  while (result >= 0 && !is_finished()) {
    ++serving_;
    decode(entry);
    tag.begin(counters_);
    Status status;
    {  // its frame ends before the arena is reset
      Task serving = io_.serve(tag.request, tag);
      status = co_await serving;
    }
    if (!status.ok()) tag.answer = {.error = status.error()};
    write_answer(entry);
    io_.conclude(tag, counters_);
    Command committing(*this, abi::kCommitAndFetch, entry);
    --serving_;
    leave_if_idle();
    result = co_await committing;
  }
  if (result < 0 && result != -ENOTCONN && result != -ECONNABORTED && result != -ECANCELED) {
    log().error("FUSE over io_uring, queue {}: {}", setup_.id, std::strerror(-result));
  }
  if (--live_entries_ == 0) finish();
}

void UringQueue::decode(Entry& entry) const {
  Tag& tag = entry.tag;
  tag.call.header = entry.header->in;
  tag.call.arguments = entry.header->arguments;
  tag.call.payload = {tag.data, std::min(entry.header->entry.payload_bytes, setup_.max_io_bytes)};
  if (!zero_copy()) return;
  const bool has_pages = (entry.header->entry.flags & abi::kEntryZeroCopy) != 0;
  tag.slot = has_pages ? entry.slot : Loan::kNoSlot;
  if (!has_pages) std::memcpy(tag.data, payload_of(entry), tag.call.payload.size());
}

// The place of the request's payload, and of the answer's.
std::byte* UringQueue::payload_of(const Entry& entry) const {
  if (!zero_copy()) return entry.tag.data;
  const size_t last = setup_.pool.size() - setup_.max_io_bytes;
  return setup_.pool.data() + std::min<size_t>(entry.header->entry.pool_offset, last);
}

void UringQueue::write_answer(Entry& entry) const {
  const Tag& tag = entry.tag;
  std::byte* const payload = payload_of(entry);
  // If there are pages, a READ's data is in them already.
  const bool in_pages = tag.slot != Loan::kNoSlot && tag.request.op == Op::read;
  if (!in_pages && payload != tag.answer_body()) {
    std::memcpy(payload, tag.answer_body(), tag.answer.length);
  }
  entry.header->out = tag.answer_header();
  entry.header->entry.payload_bytes = tag.answer.length;
}

void UringQueue::leave_if_idle() {
  if (!stopping_ || serving_ != 0 || last_check_->posted) return;
  last_check_->posted = true;
  ring_.post(*last_check_);
}

}  // namespace sluice::fuse
