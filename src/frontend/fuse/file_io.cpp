#include "frontend/fuse/file_io.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

namespace sluice::fuse {
namespace {

// Less is copied faster than it is spliced (docs/decisions/0005-piped-loans.md).
constexpr uint32_t kPipedBytesMin = 64 * 1024;

// What a request asks of the stack; nothing where the answer does not need it.
std::optional<Op> op_of(uint32_t opcode) {
  switch (opcode) {
    case FUSE_READ:
      return Op::read;
    case FUSE_WRITE:
      return Op::write;
    case FUSE_FSYNC:
      return Op::flush;
    case FUSE_FALLOCATE:
      return Op::write_zeroes;
    default:
      return std::nullopt;
  }
}

}  // namespace

FileIo::FileIo(Stack& stack, OneFile& file, uint32_t max_io_bytes)
    : stack_(stack),
      file_(file),
      max_io_bytes_(max_io_bytes),
      block_bytes_(stack.geometry().logical_block_bytes) {}

Task FileIo::serve(Request& request, Tag& tag) {
  tag.answer = {};
  tag.lends_slot = false;
  request.where = {};
  tag.follower.withdraw();
  const auto op = op_of(tag.call.header.opcode);
  if (!op) {
    tag.answer = file_.answer(tag.call, {tag.data, OneFile::kAnswerBytesMax});
    return kOk;
  }
  request.op = *op;
  request.fua = false;
  request.offset = request.length = 0;
  if (op == Op::flush) return stack_.submit(request);  // of the directory as well: harmless
  if (!file_.is_file(tag.call.header.nodeid)) return Status::from_errno(EISDIR);
  if (op == Op::read) return read(request, tag);
  return op == Op::write ? write(request, tag) : allocate(request, tag);
}

void FileIo::conclude(Tag& tag, QueueCounters& counters) const {
  QueueCounters::add(counters.arena_overflows, tag.arena.overflows() - tag.overflows_counted);
  tag.overflows_counted = tag.arena.overflows();
  tag.arena.reset();
  if (!op_of(tag.call.header.opcode)) {
    counters.lose_sight();
    tag.begun = 0;
    return;
  }
  counters.count(tag.request);
  counters.end(tag.request, tag.begun, Status::from_errno(tag.answer.error));
  tag.begun = 0;
  const bool moved = tag.request.has_data() && tag.answer.error == 0;
  const bool in_place = tag.answer.piped || tag.data_in_pipe || tag.lends_slot;
  if (moved && !in_place) QueueCounters::add(counters.copied_bytes, tag.request.length);
}

// --- READ ---

Task FileIo::read(Request& request, Tag& tag) {
  const Status planned = plan_read(request, tag);
  if (!planned.ok() || request.length == 0) co_return planned;
  const Cover blocks = cover(request.offset, request.length);
  const Ends ends = blocks.aligned() ? Ends::request : Ends::part;
  tag.answer.length = static_cast<uint32_t>(request.length);
  tag.lends_slot = may_lend_slot(request, tag);
  Status status;
  do {
    Task reading = transfer(request, tag, blocks.begin, {tag.data, blocks.length}, ends);
    status = co_await reading;
  } while (falls_back(tag, status));
  if (!status.ok()) co_return status;
  if (blocks.lead != 0) std::memmove(tag.data, tag.data + blocks.lead, request.length);
  if (tag.slot == Loan::kNoSlot || tag.lends_slot) co_return kOk;
  Task copying = copy_slot(request, tag);
  co_return co_await copying;
}

// What lies behind the end is not read: the answer is shorter.
Status FileIo::plan_read(Request& request, const Tag& tag) const {
  const auto wish = tag.call.argument<fuse_read_in>();
  if (!wish || wish->size > max_io_bytes_) return Status::from_errno(EINVAL);
  const uint64_t size = file_.size_bytes();
  request.offset = wish->offset;
  request.length = wish->offset < size ? std::min<uint64_t>(wish->size, size - wish->offset) : 0;
  return kOk;
}

// --- WRITE ---

Task FileIo::write(Request& request, Tag& tag) {
  const Status planned = plan_write(request, tag);
  if (!planned.ok()) co_return planned;
  if (tag.data_in_pipe && !may_pipe(request, tag, Ends::request)) {
    const Status pulled = pull_data(tag);
    if (!pulled.ok()) co_return pulled;
  }
  const uint32_t length = static_cast<uint32_t>(request.length);
  const fuse_write_out reply{.size = length, .padding = 0};
  tag.answer = {.length = sizeof(reply), .apart = true};
  std::memcpy(tag.answer_body(), &reply, sizeof(reply));
  tag.lends_slot = may_lend_slot(request, tag);
  Status status;
  do {
    if (tag.slot != Loan::kNoSlot && !tag.lends_slot) {
      Task copying = copy_slot(request, tag);
      status = co_await copying;
      if (!status.ok()) co_return status;
    }
    Task writing = write_bytes(request, tag, request.offset, length, Ends::request);
    status = co_await writing;
  } while (falls_back(tag, status));
  co_return status;
}

// Whether the bytes may stay in pipes: many of them, in whole blocks, all that came and no more.
bool FileIo::may_pipe(const Request& request, const Tag& tag, Ends ends) const {
  if (tag.pipe == nullptr || ends != Ends::request || request.length < kPipedBytesMin) return false;
  if (stack_.geometry().needs_bytes || !cover(request.offset, request.length).aligned())
    return false;
  if (request.op == Op::read) return true;
  return tag.data_in_pipe && request.length == tag.call.payload.size();
}

Status FileIo::pull_data(Tag& tag) const {
  const size_t wanted = tag.call.payload.size();
  for (size_t done = 0; done < wanted;) {
    const ssize_t got = ::read(tag.pipe->read_end.number(), tag.data + done, wanted - done);
    if (got <= 0) return Status::from_errno(EIO);
    done += static_cast<size_t>(got);
  }
  tag.data_in_pipe = false;
  return kOk;
}

// The last bytes of the file are written, what would lie behind them is not: the answer says so.
Status FileIo::plan_write(Request& request, const Tag& tag) const {
  const auto wish = tag.call.argument<fuse_write_in>();
  if (!wish || wish->size != tag.call.payload.size() || wish->size > max_io_bytes_) {
    return Status::from_errno(EINVAL);
  }
  if (file_.read_only()) return Status::from_errno(EROFS);
  const uint64_t size = file_.size_bytes();
  if (wish->offset >= size) return Status::from_errno(ENOSPC);
  request.fua = (wish->flags & (O_DSYNC | O_SYNC)) != 0;
  request.offset = wish->offset;
  request.length = std::min<uint64_t>(wish->size, size - wish->offset);
  return kOk;
}

// Writes `length` bytes, at the beginning of the tag's data, to any place in the file.
Task FileIo::write_bytes(Request& request, Tag& tag, uint64_t offset, uint32_t length, Ends ends) {
  const Cover blocks = cover(offset, length);
  const auto mode = blocks.aligned() ? RangeLock::Mode::shared : RangeLock::Mode::exclusive;
  RangeLock::Hold hold(lock_, *request.ring, blocks.begin, blocks.length, mode);
  co_await hold;
  if (!blocks.aligned()) {
    Task completing = complete_edges(request, tag, blocks, length);
    const Status status = co_await completing;
    if (!status.ok()) co_return status;
  }
  file_.note_write();
  Task writing = transfer(request, tag, blocks.begin, {tag.data, blocks.length}, ends);
  co_return co_await writing;
}

// Moves the data to where it lies in its blocks, and puts the old bytes around it.
Task FileIo::complete_edges(Request& request, Tag& tag, const Cover& cover, uint32_t length) {
  const Op op = request.op;
  request.op = Op::read;
  std::memmove(tag.data + cover.lead, tag.data, length);
  Status status;
  if (cover.lead != 0) {
    Task reading = transfer(request, tag, cover.begin, {tag.edges, block_bytes_});
    status = co_await reading;
    std::memcpy(tag.data, tag.edges, cover.lead);
  }
  if (status.ok() && cover.trail != 0) {
    const uint64_t last = cover.begin + cover.length - block_bytes_;
    std::byte* const edge = tag.edges + kBlockBytesMax;
    Task reading = transfer(request, tag, last, {edge, block_bytes_});
    status = co_await reading;
    std::memcpy(tag.data + cover.length - cover.trail, edge + block_bytes_ - cover.trail,
                cover.trail);
  }
  request.op = op;
  co_return status;
}

// One request of whole blocks. Returns once the memory is nobody else's any more. A read that
// claims more than was filled would show the client what is left of another request (P-8).
Task FileIo::transfer(Request& request, Tag& tag, uint64_t offset, std::span<std::byte> memory,
                      Ends ends) {
  const bool reads = request.op == Op::read;
  const Direction direction = reads ? Direction::destination : Direction::source;
  const bool piped = may_pipe(request, tag, ends);
  const auto length = static_cast<uint32_t>(memory.size());
  Request blocks = request.child(offset, piped            ? tag.lend_piped(direction, length)
                                         : tag.lends_slot ? tag.lend_slot(direction, length)
                                                          : tag.lend(direction, memory));
  blocks.fua = request.fua && !reads;
  if (ends == Ends::request && tag.answerer != nullptr && !blocks.fua && stack_.may_link()) {
    tag.answerer->offer_answer(tag);
    blocks.follower = &tag.follower;
  }
  Task serving = stack_.submit(blocks);
  Status status = co_await serving;
  blocks.data.drop();
  auto back = tag.loan.back();
  co_await back;
  if (piped && reads) {
    tag.answer.piped = status.ok();
    if (!status.ok()) request.ring->pipes().discard(*tag.loan);
  }
  if (reads && status.ok() && tag.loan->filled_bytes() != memory.size()) {
    spdlog::critical("a read of {} bytes at {} was reported done with {} bytes filled",
                     memory.size(), offset, tag.loan->filled_bytes());
    status = Status::from_errno(EIO);
  }
  co_return status;
}

// --- Pages in the ring's buffer table ---

// Whether they can be the memory of the request: all of its blocks, and no bytes that must be seen.
bool FileIo::may_lend_slot(const Request& request, const Tag& tag) const {
  return tag.slot != Loan::kNoSlot && cover(request.offset, request.length).aligned();
}

// Direct I/O of a backing does not take pages from everywhere, and nobody says how these lie: their
// bytes then go through the tag's data, as those of partial blocks do.
bool FileIo::falls_back(Tag& tag, Status status) {
  if (!tag.lends_slot || status.error() != EINVAL) return false;
  tag.lends_slot = false;
  return true;
}

// Copies a WRITE's bytes from its pages to the beginning of the tag's data, or a READ's the other
// way.
Task FileIo::copy_slot(Request& request, Tag& tag) {
  const bool reads = request.op == Op::read;
  const Direction direction = reads ? Direction::destination : Direction::source;
  Ring& ring = *request.ring;
  Status status;
  {
    View pages = tag.lend_slot(direction, static_cast<uint32_t>(request.length));
    auto copying = reads ? ring.read(tag.data_file, tag.data_position, std::move(pages))
                         : ring.write(tag.data_file, tag.data_position, std::move(pages));
    status = co_await copying;
  }
  auto back = tag.loan.back();
  co_await back;
  co_return status;
}

// --- FALLOCATE ---

Task FileIo::allocate(Request& request, Tag& tag) {
  const Status planned = plan_allocate(request, tag);
  if (!planned.ok() || request.length == 0) co_return planned;
  file_.note_write();
  const uint64_t end = request.offset + request.length;
  const Cover blocks = cover(request.offset, request.length);
  // The whole blocks within the range; none if it lies in one block, or in two halves.
  const uint64_t first = blocks.begin + (blocks.lead != 0 ? block_bytes_ : 0);
  const uint64_t last = blocks.begin + blocks.length - (blocks.trail != 0 ? block_bytes_ : 0);
  const uint64_t head_end = std::min(first, end);
  if (request.offset < head_end) {
    Task zeroing = zero_bytes(request, tag, request.offset, head_end - request.offset);
    const Status status = co_await zeroing;
    if (!status.ok()) co_return status;
  }
  if (first < last) {
    RangeLock::Hold hold(lock_, *request.ring, first, last - first, RangeLock::Mode::shared);
    co_await hold;
    Request whole = request.child(first, last - first);
    Task zeroing = stack_.submit(whole);
    const Status status = co_await zeroing;
    if (!status.ok()) co_return status;
  }
  const uint64_t tail_begin = std::max(head_end, last);
  if (tail_begin < end) {
    Task zeroing = zero_bytes(request, tag, tail_begin, end - tail_begin);
    co_return co_await zeroing;
  }
  co_return kOk;
}

// Punched holes and zeroed ranges read back as zeroes, which a discard does not promise: both are
// write zeroes. Without discard a hole would have to be written out, and is refused instead.
Status FileIo::plan_allocate(Request& request, const Tag& tag) const {
  const auto wish = tag.call.argument<fuse_fallocate_in>();
  if (!wish) return Status::from_errno(EINVAL);
  const uint32_t kind = wish->mode & ~uint32_t{FALLOC_FL_KEEP_SIZE};
  const bool punches = kind == FALLOC_FL_PUNCH_HOLE && stack_.geometry().can_discard;
  if (!punches && kind != FALLOC_FL_ZERO_RANGE) return Status::from_errno(EOPNOTSUPP);
  if (file_.read_only()) return Status::from_errno(EROFS);
  request.may_unmap = punches;
  const uint64_t size = file_.size_bytes();
  const bool behind = wish->offset > size || wish->length > size - wish->offset;
  if (behind && (wish->mode & FALLOC_FL_KEEP_SIZE) == 0) return Status::from_errno(ENOSPC);
  request.offset = std::min(wish->offset, size);
  request.length = std::min(wish->length, size - request.offset);
  return kOk;
}

// Less than a block.
Task FileIo::zero_bytes(Request& request, Tag& tag, uint64_t offset, uint64_t length) {
  const Op op = request.op;
  request.op = Op::write;
  std::memset(tag.data, 0, length);
  Task writing = write_bytes(request, tag, offset, static_cast<uint32_t>(length), Ends::part);
  const Status status = co_await writing;
  request.op = op;
  co_return status;
}

FileIo::Cover FileIo::cover(uint64_t offset, uint64_t length) const {
  const uint64_t mask = block_bytes_ - 1;
  const uint64_t begin = offset & ~mask;
  const uint64_t end = (offset + length + mask) & ~mask;
  return {.begin = begin,
          .length = end - begin,
          .lead = static_cast<uint32_t>(offset - begin),
          .trail = static_cast<uint32_t>(end - offset - length)};
}

}  // namespace sluice::fuse
