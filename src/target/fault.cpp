#include "target/fault.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "core/events.hpp"
#include "core/log.hpp"
#include "core/private_loan.hpp"
#include "ring/ring.hpp"
#include "target/open.hpp"

namespace sluice {
namespace {

constexpr uint32_t kCachedIoBytes = 1 << 20;     // per request: bounds the copies
constexpr uint64_t kCachedZeroBytes = 16 << 20;  // per request: bounds the blocks
constexpr uint64_t kVictimBlocks = 8;

}  // namespace

Fault::Fault(Children child, const FaultOptions& options)
    : Target(std::move(child)),
      options_(options),
      cache_(this->child(0).geometry().logical_block_bytes),
      random_(options.seed) {
  geometry_ = common_geometry(children());
  if (!options_.volatile_cache) return;
  geometry_.volatile_cache = true;
  geometry_.can_fua = options_.fua;
  geometry_.needs_bytes = true;
  geometry_.max_io_bytes = kCachedIoBytes;
  geometry_.max_discard_bytes = kCachedZeroBytes;
}

void Fault::power_cut() {
  const bool was_powered = powered_.exchange(false, std::memory_order_acq_rel);
  cache_.clear();
  if (was_powered) {
    emit({.kind = kHealthChanged, .text = "failed: its power is cut", .target = name()});
  }
}

Task Fault::control(Request&, ControlCall&) {
  power_cut();
  return kOk;
}

Health Fault::health() const {
  const std::scoped_lock guard(mutex_);
  Health health{.numbers = {{.name = "injected_errors", .value = failed_}}};
  if (!powered()) {
    health.state = HealthState::failed;
    health.reason = "its power is cut";
  } else if (failed_ != 0) {
    health.state = HealthState::degraded;
    health.reason = "it makes requests fail";
  }
  return health;
}

Result<uint64_t> Fault::do_resize(std::optional<uint64_t> wanted) {
  return child(0).resize(wanted);
}

Task Fault::do_submit(Request& request) {
  const Verdict verdict = judge(request);
  if (!powered()) return Status::from_errno(EIO);
  if (verdict.fails || verdict.delay.count() != 0) return misbehave(request, verdict);
  return serve(request);
}

Fault::Verdict Fault::judge(const Request& request) {
  const std::scoped_lock guard(mutex_);
  Verdict verdict;
  if (++requests_ > options_.power_cut_after) power_cut();
  if (!options_.includes(request) || ++included_ <= options_.after) return verdict;
  if (options_.delay.count() != 0 && happens(options_.delay_rate)) verdict.delay = options_.delay;
  if (failed_ >= options_.count) return verdict;
  verdict.fails = happens(options_.error_rate);
  if (!verdict.fails && request.op != Op::flush && happens(options_.short_rate)) {
    const uint64_t block = geometry_.logical_block_bytes;
    verdict.fails = true;
    verdict.prefix_bytes = random_() % (request.length / block) * block;
  }
  if (verdict.fails && ++failed_ == 1) {
    emit({.kind = kHealthChanged, .text = "degraded: it makes requests fail", .target = name()});
  }
  return verdict;
}

bool Fault::happens(double rate) {
  if (rate <= 0 || rate >= 1) return rate >= 1;
  return std::generate_canonical<double, 53>(random_) < rate;
}

Task Fault::misbehave(Request& request, Verdict verdict) {
  if (verdict.delay.count() != 0) {
    auto sleeping = request.ring->sleep(verdict.delay);
    const Status slept = co_await sleeping;
    if (!slept.ok()) co_return slept;
  }
  if (!verdict.fails) {
    Task serving = serve(request);
    co_return co_await serving;
  }
  if (verdict.prefix_bytes != 0) {
    Request prefix = request.child(request.offset, verdict.prefix_bytes);
    if (request.has_data()) {
      const uint32_t bytes = static_cast<uint32_t>(verdict.prefix_bytes);
      prefix.data = request.data.slice(0, bytes, *request.arena);
    }
    Task serving = serve(prefix);
    const Status served = co_await serving;
    if (!served.ok()) co_return served;
  }
  co_return Status::from_errno(options_.error);
}

Task Fault::serve(Request& request) {
  if (!powered()) return Status::from_errno(EIO);
  if (!options_.volatile_cache) return child(0).submit(request);
  switch (request.op) {
    case Op::read:
      return read_cached(request);
    case Op::flush:
      return flush_cached(request);
    case Op::prefetch:
      return child(0).submit(request);
    default:
      return write_cached(request);
  }
}

// Reads the cache before the child: a block that is written back meanwhile is in at least one of
// them.
Task Fault::read_cached(Request& request) {
  std::vector<FaultCache::Run> cached;
  uint64_t cached_bytes = 0;
  const uint64_t end = request.offset + request.length;
  for (uint64_t place = request.offset; auto run = cache_.next_run(place, end);) {
    place = run->end();
    cached_bytes += run->length;
    cached.push_back(std::move(*run));
  }
  if (cached_bytes != request.length) {
    Task reading = child(0).submit(request);
    const Status read = co_await reading;
    if (!read.ok()) co_return read;
  }
  for (const FaultCache::Run& run : cached) {
    const View place = request.data.slice(static_cast<uint32_t>(run.offset - request.offset),
                                          static_cast<uint32_t>(run.length), *request.arena);
    Status placed;
    if (run.content == FaultCache::Content::data) {
      auto copying = request.ring->copy_in(place, run.data.bytes());
      placed = co_await copying;
    } else {
      auto clearing = request.ring->zero(place);
      placed = co_await clearing;
    }
    if (!placed.ok()) co_return placed;
  }
  co_return powered() ? kOk : Status::from_errno(EIO);
}

Task Fault::write_cached(Request& request) {
  const Buffer bytes(request.data.length());  // empty for zeroes
  if (request.has_data()) {
    auto copying = request.ring->copy_out(request.data, bytes.bytes());
    const Status copied = co_await copying;
    if (!copied.ok()) co_return copied;
  }
  if (!request.fua) {
    store(request, bytes);
    Task making_room = make_room(request);
    co_return co_await making_room;
  }
  // Locked before the store: otherwise another request could write the blocks back, less durably,
  // and leave none for this one.
  RangeLock::Hold hold(writing_back_, *request.ring, request.offset, request.length,
                       RangeLock::Mode::exclusive);
  co_await hold;
  store(request, bytes);
  Task draining = drain(request, request.offset, request.offset + request.length);
  co_return co_await draining;
}

void Fault::store(const Request& request, const Buffer& bytes) {
  if (request.has_data()) {
    cache_.store(request.offset, bytes.bytes());
  } else {
    // Discarded blocks may read as any data: zeroes are the easiest to store.
    const bool may_unmap = request.op == Op::discard || request.may_unmap;
    cache_.store_zeroes(request.offset, request.length, may_unmap);
  }
}

// After a plain write is in the cache: writes some cached blocks to the child.
Task Fault::make_room(Request& request) {
  if (!powered()) return Status::from_errno(EIO);
  if (cache_.bytes() > options_.cache_bytes) {
    return write_back(request, 0, geometry_.size_bytes);
  }
  if (options_.torn) return evict(request);
  return kOk;
}

Task Fault::flush_cached(Request& request) {
  Task writing = write_back(request, 0, geometry_.size_bytes);
  const Status written = co_await writing;
  if (!written.ok()) co_return written;
  Task flushing = child(0).submit(request);
  const Status flushed = co_await flushing;
  co_return powered() ? flushed : Status::from_errno(EIO);
}

// Writes a few of the cached blocks to the child early, so that after a power cut, or the end of
// this process, an arbitrary subset of the unflushed blocks is there.
Task Fault::evict(Request& request) {
  for (int i = 0; i < 2; ++i) {
    const std::pair<uint64_t, uint64_t> victims = pick_victims(request);
    Task writing = write_back(request, victims.first, victims.second);
    const Status written = co_await writing;
    if (!written.ok()) co_return written;
  }
  co_return kOk;
}

Task Fault::write_back(Request& request, uint64_t begin, uint64_t end) {
  RangeLock::Hold hold(writing_back_, *request.ring, begin, end - begin,
                       RangeLock::Mode::exclusive);
  co_await hold;
  Task draining = drain(request, begin, end);
  co_return co_await draining;
}

// The caller holds the range lock. The writes are as durable as the request.
Task Fault::drain(Request& request, uint64_t begin, uint64_t end) {
  std::optional<FaultCache::Run> run = cache_.next_run(begin, end);
  for (; run && powered(); run = cache_.next_run(run->end(), end)) {
    PrivateLoan loan(Direction::source, run->data.bytes());
    Request part = part_of_run(request, *run);
    if (part.has_data()) part.data = loan.view();
    Task writing = child(0).submit(part);
    const Status written = co_await writing;
    if (!written.ok()) co_return written;
    cache_.forget(*run);
  }
  co_return powered() ? kOk : Status::from_errno(EIO);
}

Request Fault::part_of_run(const Request& request, const FaultCache::Run& run) {
  Request part = request.child(run.offset, run.length);
  part.op = run.content == FaultCache::Content::data ? Op::write : Op::write_zeroes;
  part.may_unmap = run.content == FaultCache::Content::unmapped_zeroes;
  return part;
}

// Chooses some blocks of the request, or of the whole cache.
std::pair<uint64_t, uint64_t> Fault::pick_victims(const Request& request) {
  std::pair<uint64_t, uint64_t> bounds = {request.offset, request.offset + request.length};
  const uint64_t block = geometry_.logical_block_bytes;
  const std::scoped_lock guard(mutex_);
  if (random_() % 2 == 0) bounds = cache_.bounds();
  const uint64_t blocks = (bounds.second - bounds.first) / block;
  if (blocks == 0) return {0, 0};
  const uint64_t begin = bounds.first + random_() % blocks * block;
  return {begin, std::min(begin + random_() % (kVictimBlocks + 1) * block, bounds.second)};
}

namespace {

constexpr OptionSyntax kFaultOptions[] = {
    {.name = "errors",
     .kind = OptionKind::text,
     .fallback = "0",
     .help = "share of requests that fail: 0.01, 1%, 1"},
    {.name = "short",
     .kind = OptionKind::text,
     .fallback = "0",
     .help = "share of requests that fail after a random part of them was done"},
    {.name = "errno",
     .kind = OptionKind::text,
     .fallback = "EIO",
     .help = "errno of the failed requests"},
    {.name = "delay",
     .kind = OptionKind::text,
     .fallback = "0",
     .help = "delay of a request: 10ms, 500us, 1s"},
    {.name = "delay_rate",
     .kind = OptionKind::text,
     .fallback = "1",
     .help = "share of requests that are delayed"},
    {.name = "ops",
     .kind = OptionKind::text,
     .fallback = "all",
     .help = "affected operations: read+write+flush+discard+write_zeroes+prefetch"},
    {.name = "offset",
     .kind = OptionKind::size,
     .fallback = "0",
     .help = "first byte of the affected range"},
    {.name = "length",
     .kind = OptionKind::size,
     .minimum = 1,
     .help = "length of the affected range; to the end if not given"},
    {.name = "after",
     .kind = OptionKind::count,
     .fallback = "0",
     .help = "number of affected requests that pass first"},
    {.name = "count", .kind = OptionKind::count, .help = "maximum number of failed requests"},
    {.name = "cache",
     .kind = OptionKind::text,
     .fallback = "none",
     .help = "volatile: writes stay in memory until they are flushed"},
    {.name = "cache_size",
     .kind = OptionKind::size,
     .fallback = "64M",
     .help = "size of a volatile cache, above which it writes back"},
    {.name = "fua",
     .kind = OptionKind::flag,
     .fallback = "yes",
     .help = "whether a volatile cache supports durable writes, or needs a flush after them"},
    {.name = "torn",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "a volatile cache writes back blocks at random, as disks do"},
    {.name = "power_cut_after",
     .kind = OptionKind::count,
     .help = "number of requests after which the cache is lost and all fail"},
    {.name = "seed",
     .kind = OptionKind::count,
     .help = "seed of all random choices; chosen and logged if not given"},
};

Result<std::unique_ptr<Target>> open_fault(const Spec& spec, Target::Children&& children,
                                           OpenContext&) {
  const Result<FaultOptions> options = read_fault_options(spec);
  if (!options) return std::unexpected(options.error());
  if (options->random() && !spec.has("seed")) log().info("fault: seed={}", options->seed);
  return std::make_unique<Fault>(std::move(children), *options);
}

constexpr TargetSyntax kFaultVerbs[] = {
    {.name = "power_cut", .summary = "lose the cache, and fail every request from now on"},
};

}  // namespace

constinit const TargetType kFaultTarget = {
    .syntax = {.name = "fault",
               .summary = "injects errors, delays and data loss, for tests",
               .children_minimum = 1,
               .children_maximum = 1,
               .options = kFaultOptions},
    .open = open_fault,
    .verbs = kFaultVerbs};

}  // namespace sluice
