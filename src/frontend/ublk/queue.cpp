#include "frontend/ublk/queue.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <optional>

#include "core/buffer.hpp"
#include "core/private_loan.hpp"
#include "frontend/tag_loan.hpp"
#include "frontend/ublk/io_command.hpp"
#include "ring/follower.hpp"

namespace sluice::ublk {
namespace {

constexpr uint32_t kSectorShift = 9;
constexpr uint32_t kMeasured = 32;  // of so many requests that could be linked, one is not

Op to_op(uint8_t code) {
  switch (code) {
    case abi::kOpRead:
      return Op::read;
    case abi::kOpWrite:
      return Op::write;
    case abi::kOpDiscard:
      return Op::discard;
    case abi::kOpWriteZeroes:
      return Op::write_zeroes;
    default:
      return Op::flush;
  }
}

bool is_known(uint8_t code) { return code <= abi::kOpDiscard || code == abi::kOpWriteZeroes; }

}  // namespace

// What belongs to one tag for as long as the device lives.
struct Queue::Tag {
  uint16_t number = 0;
  int slot = Loan::kNoSlot;     // of the buffer table
  bool by_hand = false;         // this request needs work before and after it is served
  bool registered = false;      // by hand
  std::optional<Buffer> copy;   // where its pages could not be registered
  std::byte* buffer = nullptr;  // in the copying modes
  TagLoan loan;
  Request request;
  Follower commit;                // of this request, linked to its one operation
  Completion* command = nullptr;  // that brings the next request, while there is none
  bool ended = false;
  Arena arena;
  uint64_t overflows_counted = 0;
  uint64_t begun = 0;    // see QueueCounters
  bool in_sight = true;  // likewise
};

Result<std::unique_ptr<Queue>> Queue::create(const Setup& setup, Ring& ring, Stack& stack,
                                             QueueListener& listener) {
  std::unique_ptr<Queue> queue(new Queue(setup, ring, stack, listener));
  if (auto allocated = queue->allocate_buffers(); !allocated) {
    return std::unexpected(allocated.error());
  }
  return queue;
}

Queue::Queue(const Setup& setup, Ring& ring, Stack& stack, QueueListener& listener)
    : setup_(setup),
      ring_(ring),
      stack_(stack),
      listener_(listener),
      tags_(std::make_unique<Tag[]>(setup.depth)) {}

// Only address space: pages come when a request needs them.
Result<void> Queue::allocate_buffers() {
  if (is_zero_copy(setup_.mode)) return {};
  const size_t bytes = size_t{setup_.depth} * setup_.max_io_bytes;
  void* const place = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) {
    return fail(errno, fmt::format("no address space for {} buffers of {} bytes: use a smaller "
                                   "depth or --max_io_buf_bytes",
                                   setup_.depth, setup_.max_io_bytes));
  }
  buffers_ = {static_cast<std::byte*>(place), bytes};
  return {};
}

Queue::~Queue() {
  if (!buffers_.empty()) munmap(buffers_.data(), buffers_.size());
}

void Queue::start() {
  live_tags_ = setup_.depth;
  for (uint16_t i = 0; i < setup_.depth; ++i) {
    Tag& tag = tags_[i];
    tag.loan.set_up(ring_);
    tag.number = i;
    tag.request.ring = &ring_;
    tag.request.arena = &tag.arena;
    tag.request.ready = &ring_.ready();
    tag.request.queue = setup_.id;
    tag.request.tag = i;
    if (!buffers_.empty()) tag.buffer = buffers_.data() + size_t{i} * setup_.max_io_bytes;
    serve(tag);
  }
}

Service Queue::serve(Tag& tag) {
  if (setup_.mode == BufferMode::auto_register) {
    auto slot_wait = ring_.acquire_slot();
    tag.slot = co_await slot_wait;
  }
  auto fetching = fetch(abi::kFetchReq, tag, 0);
  tag.command = &fetching;
  int32_t delivered = co_await fetching;
  while (delivered >= 0) {
    if (delivered == abi::kResultNeedGetData) {
      auto asking = command(abi::kNeedGetData, tag, reinterpret_cast<uint64_t>(tag.buffer));
      tag.command = &asking;
      delivered = co_await asking;
      continue;
    }
    tag.command = nullptr;
    Status status = decode(tag);
    if (status.ok() && tag.by_hand) {
      Task preparing = prepare_by_hand(tag.request, tag);
      status = co_await preparing;
    }
    if (status.ok()) {
      lend(tag);
      Task serving = stack_.submit(tag.request);
      if (tag.commit.linked()) {
        counters_.lose_sight();
        tag.in_sight = false;
      }
      status = co_await serving;
      take_back(tag);
      auto back = tag.loan.back();
      co_await back;
    }
    if (tag.by_hand) {
      Task finishing = finish_by_hand(tag.request, tag, status);
      status = co_await finishing;
    }
    const int32_t result = conclude(tag, status);
    if (tag.commit.done()) {
      delivered = tag.commit.result();
      continue;
    }
    auto committing = fetch(abi::kCommitAndFetchReq, tag, result);
    tag.command = &committing;
    delivered = co_await committing;
  }
  tag.ended = true;
  if (tag.slot != Loan::kNoSlot) ring_.release_slot(tag.slot);
  if (--live_tags_ == 0) listener_.finished();
}

bool Queue::drained() const {
  for (const Tag& tag : std::span(tags_.get(), setup_.depth)) {
    if (tag.ended || tag.command != nullptr) continue;
    if (!tag.commit.linked() || !is_committed(tag)) return false;
  }
  return true;
}

// A linked commit is not reported before the next request comes. But the driver copies a byte of a
// request to and fro only while that is with its server; otherwise there is no such request.
bool Queue::is_committed(const Tag& tag) const {
  std::byte first{};
  return pread(setup_.char_fd, &first, 1, static_cast<off_t>(position(tag))) < 0 && errno == EINVAL;
}

void Queue::list_in_flight(std::vector<InFlight>& found) const {
  for (const Tag& tag : std::span(tags_.get(), setup_.depth)) {
    if (tag.begun == 0 || tag.ended || tag.command != nullptr || tag.commit.done()) continue;
    if (tag.commit.linked() && is_committed(tag)) continue;
    found.push_back(describe(tag.request));
    found.back().queue = setup_.id;
    found.back().tag = tag.number;
    found.back().age_ticks = ticks() - tag.begun;
  }
}

void Queue::give_up() {
  for (Tag& tag : std::span(tags_.get(), setup_.depth)) {
    if (tag.ended) continue;
    Completion& command = tag.command != nullptr ? *tag.command : tag.commit;
    command.complete(-ENODEV, 0);
  }
}

// Reads the driver's description of the request that was just delivered.
Status Queue::decode(Tag& tag) {
  const abi::IoDescriptor& descriptor = setup_.descriptors[tag.number];
  const uint8_t code = descriptor.op_flags & 0xff;
  tag.by_hand = false;
  tag.commit.withdraw();
  tag.request.follower = nullptr;
  Request& request = tag.request;
  request.op = to_op(code);
  request.fua = (descriptor.op_flags & abi::kIoFua) != 0;
  request.may_unmap = (descriptor.op_flags & abi::kIoNoUnmap) == 0;
  request.offset = descriptor.start_sector << kSectorShift;
  request.length = uint64_t{descriptor.sectors} << kSectorShift;
  request.where = {};
  tag.in_sight = true;
  tag.begun = counters_.begin();
  counters_.count(request);
  if (!is_known(code)) return Status::from_errno(EOPNOTSUPP);
  if (!request.has_data()) return kOk;
  if (request.length > setup_.max_io_bytes) return Status::from_errno(EINVAL);
  tag.by_hand = setup_.mode == BufferMode::register_buf || setup_.mode == BufferMode::user_copy ||
                (descriptor.op_flags & abi::kIoNeedRegBuf) != 0;
  return kOk;
}

// Makes the request's bytes reachable where the driver did not: by registering its pages (also
// where the automatic registration found no room, P-17) or by copying what is to be written.
Task Queue::prepare_by_hand(Request& request, Tag& tag) {
  if (setup_.mode == BufferMode::user_copy) {
    Task copying = copy_in(request, tag);
    co_return co_await copying;
  }
  if (setup_.mode == BufferMode::register_buf) {
    auto slot_wait = ring_.acquire_slot();
    tag.slot = co_await slot_wait;
  }
  auto registering = command(abi::kRegisterIoBuf, tag, static_cast<uint64_t>(tag.slot));
  const int32_t result = co_await registering;
  tag.registered = result >= 0;
  if (tag.registered || !setup_.user_copy) co_return Status::from_result(result);
  tag.copy.emplace(request.length);
  Task copying = copy_in(request, tag);
  co_return co_await copying;
}

Task Queue::copy_in(Request& request, Tag& tag) {
  if (request.op == Op::read) co_return kOk;
  PrivateLoan loan(Direction::destination, bytes_of(tag));
  auto copying = ring_.read(setup_.char_device, position(tag), loan.view());
  co_return co_await copying;
}

Task Queue::copy_out(Request& request, Tag& tag, Status status) {
  if (request.op == Op::write || !status.ok()) co_return status;
  PrivateLoan loan(Direction::source, bytes_of(tag));
  auto copying = ring_.write(setup_.char_device, position(tag), loan.view());
  co_return co_await copying;
}

// The other way round. The status of the request is handed through; only a failed delivery changes
// it.
Task Queue::finish_by_hand(Request& request, Tag& tag, Status status) {
  if (setup_.mode == BufferMode::user_copy || tag.copy) {
    Task copying = copy_out(request, tag, status);
    status = co_await copying;
    tag.copy.reset();
  }
  if (tag.registered) {
    auto unregistering = command(abi::kUnregisterIoBuf, tag, static_cast<uint64_t>(tag.slot));
    const int32_t result = co_await unregistering;
    if (result < 0) {
      spdlog::error("the driver did not unregister a request's buffer: {}", std::strerror(-result));
    }
    tag.registered = false;
  }
  if (setup_.mode == BufferMode::register_buf) {
    ring_.release_slot(tag.slot);
    tag.slot = Loan::kNoSlot;
  }
  co_return status;
}

void Queue::lend(Tag& tag) {
  Request& request = tag.request;
  if (!request.has_data()) return;
  const Direction direction = request.op == Op::read ? Direction::destination : Direction::source;
  tag.loan.awaits_return();
  if (is_zero_copy(setup_.mode) && !tag.copy) {
    request.data = tag.loan->lend_registered(
        tag.loan.lender(), direction, static_cast<uint32_t>(request.length), tag.slot,
        setup_.user_copy ? setup_.char_device : File{}, position(tag));
  } else {
    request.data = tag.loan->lend_mapped(tag.loan.lender(), direction, bytes_of(tag));
    QueueCounters::add(counters_.copied_bytes, request.length);
  }
  if (tag.by_hand || request.fua || !setup_.user_copy || !stack_.may_link()) return;
  if (++linkable_ % kMeasured == 0) return;  // so that the times of some are known
  tag.commit.offer(fetch_sqe(abi::kCommitAndFetchReq, tag, static_cast<int32_t>(request.length)));
  request.follower = &tag.commit;
}

void Queue::take_back(Tag& tag) { tag.request.data.drop(); }

// What the driver is told: the bytes moved, or a negative errno. A read that claims more than was
// filled would show the client somebody else's memory (P-8).
int32_t Queue::conclude(Tag& tag, Status status) {
  const Request& request = tag.request;
  if (status.ok() && request.op == Op::read &&
      tag.loan->filled_bytes() != static_cast<uint32_t>(request.length)) {
    spdlog::critical("a read of {} bytes at {} was reported done with {} bytes filled",
                     request.length, request.offset, tag.loan->filled_bytes());
    status = Status::from_errno(EIO);
  }
  counters_.end(request, tag.in_sight ? tag.begun : QueueCounters::kOutOfSight, status);
  QueueCounters::add(counters_.arena_overflows, tag.arena.overflows() - tag.overflows_counted);
  tag.overflows_counted = tag.arena.overflows();
  tag.arena.reset();
  if (!status.ok()) return -status.error();
  return request.has_data() ? static_cast<int32_t>(request.length) : 0;
}

// FETCH, or COMMIT_AND_FETCH with the result of the last request: both say where the next one's
// data is to go, a buffer of ours or a slot of the buffer table.
RawOperation Queue::fetch(unsigned long op, const Tag& tag, int32_t result) {
  return {ring_, fetch_sqe(op, tag, result)};
}

io_uring_sqe Queue::fetch_sqe(unsigned long op, const Tag& tag, int32_t result) const {
  const bool copies = setup_.mode == BufferMode::copy || setup_.mode == BufferMode::get_data;
  const bool registers = setup_.mode == BufferMode::auto_register;
  return make_sqe(op, tag, result, copies ? reinterpret_cast<uint64_t>(tag.buffer) : 0,
                  registers ? static_cast<uint64_t>(tag.slot) | abi::kAutoBufRegFallback : 0);
}

RawOperation Queue::command(unsigned long op, const Tag& tag, uint64_t address) {
  return {ring_, make_sqe(op, tag, 0, address, 0)};
}

io_uring_sqe Queue::make_sqe(unsigned long op, const Tag& tag, int32_t result, uint64_t address,
                             uint64_t auto_buffer) const {
  io_uring_sqe sqe = io_command_sqe(
      setup_.char_device, op,
      {.queue_id = setup_.id, .tag = tag.number, .result = result, .address = address});
  sqe.addr = auto_buffer;
  return sqe;
}

std::span<std::byte> Queue::bytes_of(const Tag& tag) const {
  if (tag.copy) return tag.copy->bytes();
  return {tag.buffer, static_cast<size_t>(tag.request.length)};
}

uint64_t Queue::position(const Tag& tag) const {
  return abi::io_buffer_position(setup_.id, tag.number);
}

}  // namespace sluice::ublk
