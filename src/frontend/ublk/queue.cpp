#include "frontend/ublk/queue.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/resident.hpp"
#include "frontend/ublk/abi.hpp"
#include "frontend/ublk/io_command.hpp"
#include "frontend/ublk/queue_tag.hpp"
#include "ring/warm_up.hpp"

namespace sluice::ublk {
namespace {

constexpr uint32_t kMeasured = 32;  // one of so many linkable requests is not linked
constexpr std::chrono::milliseconds kDrainInterval{1};

size_t descriptor_bytes(uint16_t depth) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (depth * sizeof(abi::IoDescriptor) + page - 1) / page * page;
}

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

// Why the kernel may have to wait for memory to lend a request's pages.
std::string lending_risk(const Queue::Setup& setup) {
  constexpr uint32_t kKeptBytes = kKeptPieces * PagePool::kPageBytes;
  if (!is_zero_copy(setup.mode) || setup.max_io_bytes <= kKeptBytes) return {};
  return fmt::format(
      "the kernel takes memory to lend the pages of requests of more than {} bytes: "
      "use --max_io_buf_bytes {}",
      kKeptBytes, kKeptBytes);
}

bool is_known(uint8_t code) { return code <= abi::kOpDiscard || code == abi::kOpWriteZeroes; }

}  // namespace

Result<std::unique_ptr<Queue>> Queue::create(const Setup& setup, Ring& ring, Stack& stack,
                                             QueueListener& listener) {
  std::unique_ptr<Queue> queue(new Queue(setup, ring, stack, listener));
  if (auto allocated = queue->allocate_memory(); !allocated) {
    return std::unexpected(allocated.error());
  }
  if (queue->swap_risk_.empty()) queue->swap_risk_ = lending_risk(setup);
  return queue;
}

Queue::Queue(const Setup& setup, Ring& ring, Stack& stack, QueueListener& listener)
    : sluice::Queue(listener),
      setup_(setup),
      ring_(ring),
      stack_(stack),
      tags_(std::make_unique<Tag[]>(setup.depth)) {}

// If the driver copies, each tag has a buffer. Otherwise a request takes the memory that it needs
// when it comes. If pages are lent, this is rare, and memory for one request at a time is enough.
Result<void> Queue::allocate_memory() {
  const bool driver_copies = setup_.mode == BufferMode::copy || setup_.mode == BufferMode::get_data;
  if (driver_copies) return map_buffers();
  if (is_zero_copy(setup_.mode) && !setup_.user_copy) return {};
  const uint32_t usual = is_zero_copy(setup_.mode) ? 0 : PagePool::kUsualBytes;
  auto pool = PagePool::create(std::max(setup_.reserve_bytes.value_or(usual), setup_.max_io_bytes));
  if (!pool) return std::unexpected(pool.error());
  pool_ = std::move(*pool);
  swap_risk_ = pool_->risk();
  return {};
}

// Beyond the reserve this is only address space: pages are allocated on use.
Result<void> Queue::map_buffers() {
  const size_t bytes = size_t{setup_.depth} * setup_.max_io_bytes;
  void* const place = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) {
    return fail(errno, fmt::format("no address space for {} buffers of {} bytes: use a smaller "
                                   "depth or --max_io_buf_bytes",
                                   setup_.depth, setup_.max_io_bytes));
  }
  buffers_ = {static_cast<std::byte*>(place), bytes};
  swap_risk_ = keep_within(setup_.reserve_bytes.value_or(PagePool::kUsualBytes), buffers_, bytes);
  return {};
}

Queue::~Queue() {
  if (!buffers_.empty()) munmap(buffers_.data(), buffers_.size());
  if (!mapping_.empty()) munmap(mapping_.data(), mapping_.size());
}

Result<void> Queue::start(int char_device) {
  if (auto mapped = map_descriptors(char_device); !mapped) return mapped;
  start_on(reinterpret_cast<const abi::IoDescriptor*>(mapping_.data()), char_device);
  return {};
}

Result<void> Queue::map_descriptors(int char_device) {
  const size_t stride = descriptor_bytes(abi::kMaxQueueDepth);
  const size_t bytes = descriptor_bytes(setup_.depth);
  void* const place = mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, char_device,
                           static_cast<off_t>(setup_.id * stride));
  if (place == MAP_FAILED) {
    return fail(errno, fmt::format("cannot map the requests of queue {}: {}", setup_.id,
                                   std::strerror(errno)));
  }
  mapping_ = {static_cast<std::byte*>(place), bytes};
  return {};
}

void Queue::start_on(const abi::IoDescriptor* descriptors, int char_device) {
  descriptors_ = descriptors;
  char_fd_ = char_device;
  live_tags_ = setup_.depth;
  for (uint16_t i = 0; i < setup_.depth; ++i) {
    Tag& tag = tags_[i];
    tag.set_up(ring_, setup_.id, i);
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
  if (delivered < 0 && !leaves_commands_) refusal_ = -delivered;
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
      if (tag.linked_command.linked()) tag.lose_sight(counters_);
      status = co_await serving;
      tag.request.data.drop();
      auto back = tag.loan.back();
      co_await back;
    }
    if (tag.by_hand) {
      Task finishing = finish_by_hand(tag.request, tag, status);
      status = co_await finishing;
    }
    const int32_t result = conclude(tag, status);
    if (tag.linked_command.done()) {
      delivered = tag.linked_command.result();
      continue;
    }
    auto committing = fetch(abi::kCommitAndFetchReq, tag, result);
    tag.command = &committing;
    delivered = co_await committing;
  }
  tag.ended = true;
  if (tag.slot != Loan::kNoSlot) ring_.release_slot(tag.slot);
  if (--live_tags_ == 0) finish();
}

Result<void> Queue::check_taken() const {
  if (refusal_ == 0) return {};
  return fail(refusal_, fmt::format("the ublk driver does not give out its requests: {}",
                                    std::strerror(refusal_)));
}

void Queue::stop() {
  if (live_tags_ == 0) {
    finish();
  } else {
    pause();
  }
}

void Queue::pause() {
  if (!draining_ && live_tags_ != 0) drain();
}

// The driver has delivered its last request before the device was quiesced, but the completion may
// not have arrived: waits until no command was submitted for one more turn of the ring. It uses a
// timer, because the end of a linked commit is not reported.
Service Queue::drain() {
  draining_ = true;
  uint64_t before = 0;
  do {
    before = commands_;
    auto resting = ring_.sleep(kDrainInterval);
    [[maybe_unused]] const Status rested = co_await resting;
  } while (commands_ != before || ring_.waiting() || !ring_.ready().empty() || !drained());
  give_up();
}

// True if all requests are answered.
bool Queue::drained() const {
  for (const Tag& tag : std::span(tags_.get(), setup_.depth)) {
    if (tag.ended || tag.command != nullptr) continue;
    if (!tag.linked_command.linked() || !is_committed(tag)) return false;
  }
  return true;
}

// A linked commit is not reported before the next request comes. But the driver copies a byte of a
// request only until the request is committed; afterwards it returns EINVAL.
bool Queue::is_committed(const Tag& tag) const {
  std::byte first{};
  return pread(char_fd_, &first, 1, static_cast<off_t>(position(tag))) < 0 && errno == EINVAL;
}

void Queue::list_in_flight(std::vector<InFlight>& found) const {
  for (const Tag& tag : std::span(tags_.get(), setup_.depth)) {
    const LinkedCommand& commit = tag.linked_command;
    if (commit.done() || (commit.linked() && is_committed(tag))) continue;
    tag.list_in_flight(found);
  }
}

// Ends every tag without a request as if the driver had taken it back. The last tag ends the queue,
// and the reactor then takes no more completions: all this happens before it collects the next
// ones. Closing the ring ends the commands that the driver still has.
void Queue::give_up() {
  leaves_commands_ = true;
  for (Tag& tag : std::span(tags_.get(), setup_.depth)) {
    if (tag.ended) continue;
    if (tag.command != nullptr) {
      std::exchange(tag.command, nullptr)->complete(-ENODEV, 0);
    } else if (tag.linked_command.linked()) {
      tag.linked_command.complete(-ENODEV, 0);
    }
  }
}

// Reads the driver's description of the request that was just delivered.
Status Queue::decode(Tag& tag) {
  const abi::IoDescriptor& descriptor = descriptors_[tag.request.tag];
  const uint8_t code = descriptor.op_flags & 0xff;
  tag.by_hand = false;
  tag.begin(counters_);
  Request& request = tag.request;
  request.op = to_op(code);
  request.fua = (descriptor.op_flags & abi::kIoFua) != 0;
  request.may_unmap = (descriptor.op_flags & abi::kIoNoUnmap) == 0;
  request.offset = descriptor.start_sector << abi::kSectorShift;
  request.length = uint64_t{descriptor.sectors} << abi::kSectorShift;
  counters_.count(request);
  if (!is_known(code)) return Status::from_errno(EOPNOTSUPP);
  if (!request.has_data()) return kOk;
  if (request.length > setup_.max_io_bytes) return Status::from_errno(EINVAL);
  tag.by_hand = setup_.mode == BufferMode::register_buf || setup_.mode == BufferMode::user_copy ||
                (descriptor.op_flags & abi::kIoNeedRegBuf) != 0;
  return kOk;
}

void Queue::lend(Tag& tag) {
  Request& request = tag.request;
  if (!request.has_data()) return;
  const Direction direction = direction_of(request.op);
  if (is_zero_copy(setup_.mode) && !tag.copy) {
    request.data = tag.lend_slot(direction, static_cast<uint32_t>(request.length), tag.slot,
                                 setup_.user_copy ? setup_.char_device : File{}, position(tag));
  } else {
    request.data = tag.lend(direction, bytes_of(tag));
    QueueCounters::add(counters_.copied_bytes, request.length);
  }
  if (tag.by_hand || request.fua || !setup_.user_copy || !stack_.may_link()) return;
  if (++linkable_ % kMeasured == 0) return;  // not linked: its time is measured
  tag.linked_command.offer(
      fetch_sqe(abi::kCommitAndFetchReq, tag, static_cast<int32_t>(request.length)));
  request.linked_command = &tag.linked_command;
}

// The result for the driver: the bytes moved, or a negative errno.
int32_t Queue::conclude(Tag& tag, Status status) {
  const Request& request = tag.request;
  status = tag.confirm_read(request, status);
  tag.conclude(counters_, status);
  if (!status.ok()) return -status.error();
  return request.has_data() ? static_cast<int32_t>(request.length) : 0;
}

// FETCH, or COMMIT_AND_FETCH with the result of the last request. Both name the place for the data
// of the next request: a buffer of ours, or a slot of the buffer table.
RawOperation Queue::fetch(unsigned long op, const Tag& tag, int32_t result) {
  ++commands_;
  return {ring_, fetch_sqe(op, tag, result)};
}

io_uring_sqe Queue::fetch_sqe(unsigned long op, const Tag& tag, int32_t result) const {
  const bool copies = setup_.mode == BufferMode::copy || setup_.mode == BufferMode::get_data;
  const bool registers = setup_.mode == BufferMode::auto_register;
  return make_sqe(op, tag, result, copies ? reinterpret_cast<uint64_t>(tag.buffer) : 0,
                  registers ? static_cast<uint64_t>(tag.slot) | abi::kAutoBufRegFallback : 0);
}

RawOperation Queue::command(unsigned long op, const Tag& tag, uint64_t address) {
  ++commands_;
  return {ring_, make_sqe(op, tag, 0, address, 0)};
}

io_uring_sqe Queue::make_sqe(unsigned long op, const Tag& tag, int32_t result, uint64_t address,
                             uint64_t auto_buffer) const {
  io_uring_sqe sqe = io_command_sqe(
      setup_.char_device, op,
      {.queue_id = setup_.id, .tag = tag.request.tag, .result = result, .address = address});
  sqe.addr = auto_buffer;
  return sqe;
}

std::span<std::byte> Queue::bytes_of(const Tag& tag) const {
  std::byte* const place = tag.copy ? tag.copy.bytes().data() : tag.buffer;
  return {place, static_cast<size_t>(tag.request.length)};
}

uint64_t Queue::position(const Tag& tag) const {
  return abi::io_buffer_position(setup_.id, tag.request.tag);
}

}  // namespace sluice::ublk
