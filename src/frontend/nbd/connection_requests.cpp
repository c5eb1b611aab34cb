// Connection: what is done with a request.
#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <optional>

#include "core/extents.hpp"
#include "frontend/nbd/connection.hpp"
#include "nbd/status_chunk.hpp"
#include "target/status_contexts.hpp"

namespace sluice::nbd {
namespace {

// Block status of more is cut.
constexpr uint64_t kStatusBytesMax = UINT32_MAX - 4095;

// Room for data: one request of the longest kind, and many short ones. Pages are used on demand.
constexpr size_t kPoolBytes = size_t{kDefaultPayloadMax} + (8 << 20);

std::optional<Op> op_of(Command command) {
  switch (command) {
    case Command::read:
      return Op::read;
    case Command::write:
      return Op::write;
    case Command::flush:
    case Command::block_status:  // for lists
      return Op::flush;
    case Command::trim:
      return Op::discard;
    case Command::cache:
      return Op::prefetch;
    case Command::write_zeroes:
      return Op::write_zeroes;
    case Command::disconnect:
      break;
  }
  return std::nullopt;
}

uint16_t flags_of(Command command) {
  switch (command) {
    case Command::read:
      return kFua | kDontFragment;
    case Command::write:
      return kFua | kPayloadLength;
    case Command::write_zeroes:
      return kFua | kNoHole | kFastZero;
    case Command::block_status:
      return kFua | kRequestOne | kPayloadLength;
    default:
      return kFua;
  }
}

bool changes_data(Command command) {
  return command == Command::write || command == Command::trim || command == Command::write_zeroes;
}

// The extents of one context, as they are sent.
struct StatusList {
  std::array<StatusExtent, StatusRuns::kMax> list;
  size_t count = 0;

  std::span<const StatusExtent> extents() const { return std::span(list).first(count); }
};

// What was found without its first `lead` bytes, up to `asked` bytes. `unknown`: if nothing is
// left.
StatusList cut_status(const StatusRuns& found, uint64_t lead, uint64_t asked, size_t most,
                      uint32_t unknown) {
  StatusList cut;
  uint64_t left = asked;
  for (const StatusRun& run : found.list()) {
    const uint64_t before = std::min(lead, run.length);
    lead -= before;
    const uint64_t length = std::min(run.length - before, left);
    if (cut.count == most || left == 0) break;
    if (length == 0) continue;
    cut.list[cut.count++] = {.length = length, .flags = run.flags};
    left -= length;
  }
  if (cut.count == 0) cut.list[cut.count++] = {.length = asked, .flags = unknown};
  return cut;
}

uint32_t flags_of(const Extent& extent) {
  return (extent.hole ? uint32_t{kHole} : 0) | (extent.zero ? uint32_t{kZero} : 0);
}

// Asks one target for one context after the other.
class StatusFinder {
 public:
  explicit StatusFinder(Target& target) : target_(target) {}

  Task find(Request& request, const std::string& context, StatusRuns& found) {
    if (context == kAllocationContext) return find_allocation(request, found);
    StatusContexts* const contexts = target_.status_contexts();
    if (contexts == nullptr) return Status::from_errno(ENOENT);
    return contexts->context_status(request, context, found);
  }

 private:
  Task find_allocation(Request& request, StatusRuns& found) {
    Extents extents(request.length);
    Task finding = target_.extents(request, extents);
    if (const Status status = co_await finding; !status.ok()) co_return status;
    for (const Extent& each : extents.list()) {
      if (!found.add(each.length, flags_of(each))) break;
    }
    co_return kOk;
  }

  Target& target_;
};

}  // namespace

// The errno with which the request is refused, or 0.
int Connection::plan(const RequestTag& tag) const {
  const RequestHeader& asked = tag.asked;
  const bool extended = form_.headers == Headers::extended;
  const uint64_t payload = asked.payload_bytes(form_.headers);
  const bool is_query = asked.command == Command::block_status && payload <= kQueryBytesMax;
  if (!op_of(asked.command) || (asked.flags & ~flags_of(asked.command)) != 0) return EINVAL;
  if (!extended && (asked.flags & kPayloadLength) != 0) return EINVAL;
  if (changes_data(asked.command) && chosen_->disk->geometry().read_only) return EPERM;
  if (asked.command == Command::flush) return 0;
  if (payload != 0 && asked.command != Command::write && !is_query) return EINVAL;
  const uint64_t length = tag.length;
  if (length == 0 || (asked.command == Command::write && payload == 0)) return EINVAL;
  if (asked.offset > size_ || length > size_ - asked.offset) {
    const bool writes = asked.command == Command::write || asked.command == Command::write_zeroes;
    return writes ? ENOSPC : EINVAL;
  }
  if (asked.command == Command::read && length > kDefaultPayloadMax) return EINVAL;
  if (asked.command == Command::block_status && tag.contexts == 0) return EINVAL;
  return 0;
}

Service Connection::serve(RequestTag& tag) {
  while (true) {
    Idle idle{tag.coroutine};
    co_await idle;
    Request& request = tag.request;
    tag.begin(setup_.counters);
    tag.payload = {};
    Status status = Status::from_errno(tag.refusal);
    if (tag.refusal == 0) {
      decode(tag, request);
      {
        Task performing = perform(request, tag);
        status = co_await performing;
      }
    }
    if (tag.refusal == 0 && tag.asked.command != Command::block_status) {
      setup_.counters.count(request);
      if (request.has_data() && status.ok() && tag.piped_bytes == 0) {
        QueueCounters::add(setup_.counters.copied_bytes, request.length);
      }
      tag.conclude(setup_.counters, status);
    } else {
      tag.forget(setup_.counters);  // it was not for the stack
    }
    tag.answer(form_, status);
    answered_.push(tag);
    wake(sender_);
  }
}

Result<std::unique_ptr<PagePool>> Connection::make_pool() {
  return PagePool::create(kPoolBytes, PagePool::Residence::on_use);
}

// The bytes of its pages; 0: it needs none.
size_t Connection::room_for(const RequestTag& tag) const {
  constexpr size_t kBlock = ByteIo::kBlockBytesMax;
  const ByteIo::Cover cover = chosen_->io->cover(tag.asked.offset, tag.length);
  const bool whole = chosen_->io->is_whole(tag.asked.offset, tag.length);
  const size_t edges = whole ? 0 : 2 * kBlock;
  switch (tag.asked.command) {
    case Command::read:
    case Command::write:
      return (cover.length + kBlock - 1) / kBlock * kBlock + edges;
    case Command::write_zeroes:
      return whole ? 0 : 2 * kBlock + edges;
    case Command::block_status:
      return static_cast<size_t>(std::popcount(tag.contexts)) *
             status_chunk_bytes(StatusRuns::kMax, form_.headers);
    default:
      return 0;
  }
}

void Connection::decode(const RequestTag& tag, Request& request) const {
  request.op = *op_of(tag.asked.command);
  request.fua = (tag.asked.flags & kFua) != 0;
  request.may_unmap = (tag.asked.flags & kNoHole) == 0;
  request.fast_only = (tag.asked.flags & kFastZero) != 0;
  const bool has_range = request.op != Op::flush;
  request.offset = has_range ? tag.asked.offset : 0;
  request.length = has_range ? tag.length : 0;
}

Task Connection::perform(Request& request, RequestTag& tag) {
  switch (tag.asked.command) {
    case Command::read:
      return read(request, tag);
    case Command::write:
      return chosen_->io->write(request, tag, tag.memory(), request.offset,
                                static_cast<uint32_t>(tag.length), ByteIo::Ends::request);
    case Command::write_zeroes:
      return chosen_->io->zero(request, tag, tag.memory());
    case Command::trim:
      return trim(request, tag);
    case Command::cache:
      return prefetch(request);
    case Command::block_status:
      return block_status(request, tag);
    default:
      return chosen_->disk->submit(request);
  }
}

// From the page cache to the socket if that is possible and gains, else through memory.
Task Connection::read(Request& request, RequestTag& tag) {
  if (!tls_ && pipe_.suits(tag.asked.offset, tag.length)) {
    chosen_->disk->trace(request);
    auto turn = pipe_.turn();
    const bool waited = co_await turn;
    if (pipe_.fill(tag.asked.offset, static_cast<uint32_t>(tag.length), waited)) {
      tag.piped_bytes = static_cast<uint32_t>(tag.length);
      co_return kOk;
    }
  }
  tag.payload = {tag.memory().data, tag.length};  // of the reply, if it succeeds
  Task reading = chosen_->io->read(request, tag, tag.memory());
  co_return co_await reading;
}

// The whole blocks within the range: what is left of a discarded block is not defined.
Task Connection::trim(Request& request, RequestTag& tag) {
  const uint64_t block = chosen_->disk->geometry().logical_block_bytes;
  const uint64_t first = (request.offset + block - 1) / block * block;
  const uint64_t last = (request.offset + request.length) / block * block;
  if (first < last) {
    Request whole = request.child(first, last - first);
    whole.fua = false;
    Task discarding = chosen_->disk->submit(whole);
    if (const Status discarded = co_await discarding; !discarded.ok()) co_return discarded;
  }
  if ((tag.asked.flags & kFua) == 0) co_return kOk;
  Request flush = request.child(0, 0);
  flush.op = Op::flush;
  flush.fua = false;
  Task flushing = chosen_->disk->submit(flush);
  co_return co_await flushing;
}

Task Connection::prefetch(Request& request) {
  const ByteIo::Cover blocks = chosen_->io->cover(request.offset, request.length);
  Request whole = request.child(blocks.begin, blocks.length);
  Task prefetching = chosen_->disk->submit(whole);
  co_return co_await prefetching;
}

// Writes the whole reply to the tag's pages: a chunk for each context.
Task Connection::block_status(Request& request, RequestTag& tag) {
  const uint64_t asked = std::min(tag.length, kStatusBytesMax);
  const ByteIo::Cover blocks = chosen_->io->cover(tag.asked.offset, asked);
  Request whole = request.child(blocks.begin, blocks.length);
  const size_t most = (tag.asked.flags & kRequestOne) != 0 ? 1 : StatusRuns::kMax;
  const std::span<std::byte> room = tag.pages.bytes();
  size_t written = 0;
  StatusFinder finder(chosen_->disk->target());
  for (ContextSet left = tag.contexts; left != 0;) {
    const MetaContext& context = form_.contexts[static_cast<size_t>(std::countr_zero(left))];
    left &= left - 1;
    StatusRuns found(blocks.length);
    Task finding = finder.find(whole, context.name, found);
    if (const Status status = co_await finding; !status.ok()) co_return status;
    // Data, if nothing is known, and changed.
    const uint32_t unknown = context.name == kAllocationContext ? 0 : 1;
    const StatusList list = cut_status(found, blocks.lead, asked, most, unknown);
    const StatusChunk chunk{.cookie = tag.asked.cookie,
                            .offset = tag.asked.offset,
                            .context = context.id,
                            .is_last = left == 0};
    written += write_status(chunk, list.extents(), form_.headers, room.subspan(written));
  }
  tag.payload = room.first(written);
  co_return kOk;
}

}  // namespace sluice::nbd
