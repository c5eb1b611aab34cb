#include "frontend/fuse/file_io.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

namespace sluice::fuse {
namespace {

// For less, copying is faster than splicing (docs/decisions/0005-piped-loans.md).
constexpr uint32_t kPipedBytesMin = 64 * 1024;

// The stack operation of a request; nullopt if it needs none.
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
    : ByteIo(stack.disk()), stack_(stack), file_(file), max_io_bytes_(max_io_bytes) {}

// From the call, unchecked: the size of the file, checked later, may change until then.
FileIo::Room FileIo::room_for(const Call& call) const {
  uint64_t offset = 0;
  uint64_t length = 0;
  if (const auto argument = call.argument<fuse_read_in>();
      call.header.opcode == FUSE_READ && argument) {
    offset = argument->offset;
    length = std::min(argument->size, max_io_bytes_);
  }
  if (const auto argument = call.argument<fuse_write_in>();
      call.header.opcode == FUSE_WRITE && argument) {
    offset = argument->offset;
    length = call.payload.size();
  }
  const Cover covered = cover(offset, length);
  const uint64_t size = file_.size_bytes();
  const bool ends_early = length > size - std::min(size, offset);  // with the file, at any byte
  const uint64_t blocks =
      (covered.lead + length + kBlockBytesMax - 1) / kBlockBytesMax * kBlockBytesMax;
  const bool zeroes = call.header.opcode == FUSE_FALLOCATE;
  const bool whole =
      is_whole(offset, length) && !zeroes && !(ends_early && stack_.geometry().exact_bytes != 0);
  const uint64_t least = length != 0 ? kBlockBytesMax : 2 * kBlockBytesMax;
  return {.data_bytes = static_cast<uint32_t>(std::max(blocks, least)),
          .edge_bytes = whole ? 0 : 2 * kBlockBytesMax};
}

Task FileIo::serve(Request& request, Tag& tag) {
  tag.answer = {};
  tag.lends_slot = false;
  const auto op = op_of(tag.call.header.opcode);
  if (!op) {
    tag.answer = file_.answer(tag.call, {tag.data, OneFile::kAnswerBytesMax});
    return kOk;
  }
  request.op = *op;
  request.fua = false;
  request.offset = request.length = 0;
  if (op == Op::flush) return stack_.submit(request);  // also for the directory: harmless
  if (!file_.is_file(tag.call.header.nodeid)) return Status::from_errno(EISDIR);
  if (op == Op::read) return read_file(request, tag);
  return op == Op::write ? write_file(request, tag) : allocate(request, tag);
}

void FileIo::conclude(Tag& tag, QueueCounters& counters) const {
  if (!op_of(tag.call.header.opcode)) {
    tag.forget(counters);
    return;
  }
  counters.count(tag.request);
  tag.conclude(counters, Status::from_errno(tag.answer.error));
  const bool moved = tag.request.has_data() && tag.answer.error == 0;
  const bool in_place = tag.answer.piped || tag.data_in_pipe || tag.lends_slot;
  if (moved && !in_place) QueueCounters::add(counters.copied_bytes, tag.request.length);
}

// --- READ ---

Task FileIo::read_file(Request& request, Tag& tag) {
  const Status planned = plan_read(request, tag);
  if (!planned.ok() || request.length == 0) co_return planned;
  const Cover blocks = cover(request.offset, request.length);
  const Ends ends = is_whole(request.offset, request.length) ? Ends::request : Ends::part;
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

// Nothing is read beyond the end: the answer is shorter.
Status FileIo::plan_read(Request& request, const Tag& tag) const {
  const auto argument = tag.call.argument<fuse_read_in>();
  if (!argument || argument->size > max_io_bytes_) return Status::from_errno(EINVAL);
  const uint64_t size = file_.size_bytes();
  request.offset = argument->offset;
  request.length =
      argument->offset < size ? std::min<uint64_t>(argument->size, size - argument->offset) : 0;
  return kOk;
}

// --- WRITE ---

Task FileIo::write_file(Request& request, Tag& tag) {
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
    file_.note_write();
    Task writing =
        write(request, tag, {tag.data, tag.edges}, request.offset, length, Ends::request);
    status = co_await writing;
  } while (falls_back(tag, status));
  co_return status;
}

// True if the bytes may stay in pipes: enough of them, in whole blocks, and exactly those received.
bool FileIo::may_pipe(const Request& request, const Tag& tag, Ends ends) const {
  if (tag.pipe == nullptr || ends != Ends::request || request.length < kPipedBytesMin) return false;
  if (stack_.geometry().needs_bytes || !is_whole(request.offset, request.length)) return false;
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

// Writes up to the end of the file, not beyond: the answer is shorter.
Status FileIo::plan_write(Request& request, const Tag& tag) const {
  const auto argument = tag.call.argument<fuse_write_in>();
  if (!argument || argument->size != tag.call.payload.size() || argument->size > max_io_bytes_) {
    return Status::from_errno(EINVAL);
  }
  if (file_.read_only()) return Status::from_errno(EROFS);
  const uint64_t size = file_.size_bytes();
  if (argument->offset >= size) return Status::from_errno(ENOSPC);
  request.fua = (argument->flags & (O_DSYNC | O_SYNC)) != 0;
  request.offset = argument->offset;
  request.length = std::min<uint64_t>(argument->size, size - argument->offset);
  return kOk;
}

// One request of whole blocks. Returns once the memory is no longer lent.
Task FileIo::transfer(Request& request, sluice::Tag& its_tag, uint64_t offset,
                      std::span<std::byte> memory, Ends ends) {
  Tag& tag = static_cast<Tag&>(its_tag);
  const bool reads = request.op == Op::read;
  const bool piped = may_pipe(request, tag, ends);
  Request blocks = request.child(offset, lend(request, tag, memory, piped));
  blocks.fua = request.fua && !reads;
  if (ends == Ends::request && tag.answerer != nullptr && !blocks.fua && stack_.may_link()) {
    tag.answerer->offer_answer(tag);
    blocks.linked_command = &tag.linked_command;
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
  co_return tag.confirm_read(blocks, status);
}

View FileIo::lend(const Request& request, Tag& tag, std::span<std::byte> memory, bool piped) {
  const Direction direction = direction_of(request.op);
  const auto length = static_cast<uint32_t>(memory.size());
  if (piped) return tag.lend_piped(direction, length, request.op == Op::read ? nullptr : tag.pipe);
  if (tag.lends_slot) return tag.lend_slot(direction, length, tag.slot);
  return tag.lend(direction, memory);
}

// --- Pages in the ring's buffer table ---

// True if the pages can be lent: whole blocks, and no target that needs the bytes.
bool FileIo::may_lend_slot(const Request& request, const Tag& tag) const {
  return tag.slot != Loan::kNoSlot && is_whole(request.offset, request.length);
}

// Direct I/O of a backing may refuse the alignment of these pages, which is not known in advance. A
// target may have to copy bytes, which these pages do not support. Then all bytes go through the
// tag's data, like those of partial blocks.
bool FileIo::falls_back(Tag& tag, Status status) {
  if (!tag.lends_slot || (status.error() != EINVAL && status.error() != EOPNOTSUPP)) return false;
  tag.lends_slot = false;
  return true;
}

// Copies a WRITE's bytes from its pages to the beginning of the tag's data, or a READ's in the
// other direction.
Task FileIo::copy_slot(Request& request, Tag& tag) {
  const bool reads = request.op == Op::read;
  Ring& ring = *request.ring;
  Status status;
  {
    View pages =
        tag.lend_slot(direction_of(request.op), static_cast<uint32_t>(request.length), tag.slot);
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
  Task zeroing = zero(request, tag, {tag.data, tag.edges});
  co_return co_await zeroing;
}

// Punched holes and zeroed ranges read back as zeroes, which a discard does not promise: both are
// write zeroes. Without discard a hole would have to be written out, and is refused instead.
Status FileIo::plan_allocate(Request& request, const Tag& tag) const {
  const auto argument = tag.call.argument<fuse_fallocate_in>();
  if (!argument) return Status::from_errno(EINVAL);
  const uint32_t kind = argument->mode & ~uint32_t{FALLOC_FL_KEEP_SIZE};
  const bool punches = kind == FALLOC_FL_PUNCH_HOLE && stack_.geometry().can_discard;
  if (!punches && kind != FALLOC_FL_ZERO_RANGE) return Status::from_errno(EOPNOTSUPP);
  if (file_.read_only()) return Status::from_errno(EROFS);
  request.may_unmap = punches;
  const uint64_t size = file_.size_bytes();
  const bool behind = argument->offset > size || argument->length > size - argument->offset;
  if (behind && (argument->mode & FALLOC_FL_KEEP_SIZE) == 0) return Status::from_errno(ENOSPC);
  request.offset = std::min(argument->offset, size);
  request.length = std::min(argument->length, size - request.offset);
  return kOk;
}

}  // namespace sluice::fuse
