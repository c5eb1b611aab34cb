#include "target/thin/live_transaction.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/events.hpp"
#include "core/log.hpp"
#include "ring/ring.hpp"

namespace sluice::thin {
namespace {

using persistent::kBlockBytes;
using persistent::ServedTransaction;

constexpr uint64_t kCacheBlocksLeast = 256;
constexpr uint64_t kCacheBlocksMost = 1 << 24;
constexpr size_t kDiscardMost = 4096;  // blocks at once

}  // namespace

LiveTransaction::LiveTransaction(const PoolOptions& options, Target& metadata, Target& data)
    : options_(options), metadata_(metadata), data_(data) {}

// --- Life.

Task LiveTransaction::open(Request& request, bool only_looks, Error& error) {
  only_looks_ = only_looks;
  const uint64_t blocks =
      std::clamp(options_.cache_bytes / kBlockBytes, kCacheBlocksLeast, kCacheBlocksMost);
  auto cache = MetadataCache::create(metadata_, {.name = options_.name,
                                                 .block_bytes = kBlockBytes,
                                                 .blocks = static_cast<uint32_t>(blocks),
                                                 .resident = false,
                                                 .data = &data_});
  if (!cache) {
    error = std::move(cache.error());
    co_return Status::from_errno(error.error);
  }
  cache_ = std::move(*cache);
  reader_ = std::make_unique<CachedReader>(*cache_);
  {
    const std::scoped_lock guard(reason_mutex_);
    read_only_ = false;
    is_out_of_metadata_ = false;
  }
  is_damaged_ = false;
  Task loading = load(request, error);
  const Status loaded = co_await loading;
  if (!loaded.ok()) {
    reader_.reset();
    cache_.reset();
  }
  co_return loaded;
}

Task LiveTransaction::close(Request& request) {
  Status status;
  if (is_open() && options_.writable && !only_looks_) {
    Task committing = commit(request);
    status = co_await committing;
    if (is_damaged_) {
      Task marking = mark_needs_check(request);
      const Status marked = co_await marking;
      if (status.ok()) status = marked;
    }
  }
  freed_.clear();
  dropped_.clear();
  transaction_.reset();
  reader_.reset();
  cache_.reset();
  changed_ = false;
  co_return status;
}

// Of the last commit, so that nobody writes to the pool before it was checked (T6.3).
Task LiveTransaction::mark_needs_check(Request& request) {
  alignas(8) std::array<std::byte, kBlockBytes> block;
  {
    ReadPin pin;
    Task reading = cache_->read(request, persistent::kSuperblockNumber, pin);
    if (const Status status = co_await reading; !status.ok()) co_return status;
    std::ranges::copy(pin.bytes(), block.begin());
  }
  auto superblock = persistent::read_superblock(block);
  if (!superblock) co_return Status::from_errno(superblock.error().error);
  superblock->flags |= persistent::Superblock::kNeedsCheck;
  persistent::write_superblock(*superblock, block);
  const persistent::Sealed::NewBlock marked{.number = persistent::kSuperblockNumber,
                                            .bytes = block};
  Task writing = write_blocks(request, {&marked, 1});
  co_return co_await writing;
}

Task LiveTransaction::load(Request& request, Error& error) {
  std::unique_ptr<ServedTransaction> opened;
  const auto access = options_.writable ? ServedTransaction::Access::read_write
                                        : ServedTransaction::Access::read_only;
  const auto step = [&]() -> Result<void> {
    auto made = ServedTransaction::open(*reader_, access);
    if (!made) return std::unexpected(std::move(made.error()));
    opened = std::move(*made);
    return {};
  };
  Task reading = read(request, step, error);
  if (const Status status = co_await reading; !status.ok()) co_return status;
  if (is_open()) opened->adopt_reserved(*transaction_);
  transaction_ = std::move(opened);
  note_numbers();
  co_return kOk;
}

Task LiveTransaction::reload(Request& request, Error& error) {
  changed_.store(false, std::memory_order_release);
  Task loading = load(request, error);
  co_return co_await loading;
}

// --- Steps.

Task LiveTransaction::read(Request& request, Step step, Error& error) {
  for (;;) {
    reader_->begin(request);
    auto done = step();
    if (done) co_return kOk;
    if (!reader_->missed()) {
      error = std::move(done.error());
      if (error.error != EILSEQ || !is_open()) co_return Status::from_errno(error.error);
      is_damaged_ = true;
      co_return stop_changes(fmt::format("the metadata is damaged: {}", error.text));
    }
    ReadPin pin;
    Task reading = cache_->read(request, *reader_->missed(), pin);
    const Status status = co_await reading;
    if (status.ok()) continue;
    error = {.error = EIO,
             .text = fmt::format("block {} of the metadata cannot be read: {}", *reader_->missed(),
                                 std::strerror(status.error()))};
    co_return Status::from_errno(EIO);
  }
}

Task LiveTransaction::change(Request& request, Step step, Error& error) {
  if (!options_.writable) {
    error = {.error = EROFS, .text = "the pool is served read-only"};
    co_return Status::from_errno(EROFS);
  }
  if (is_read_only()) {
    error = {.error = EIO, .text = reason()};
    co_return Status::from_errno(EIO);
  }
  Task reading = read(request, step, error);
  const Status status = co_await reading;
  if (status.ok()) {
    changed_.store(true, std::memory_order_release);
    note_numbers();
  }
  co_return status;
}

// --- Durability.

Task LiveTransaction::flush(Request& request) {
  if (is_committed()) return flush_data(request);
  return flush_changes(request);
}

// Other volumes have lost data as well.
Task LiveTransaction::flush_data(Request& request) {
  Task flushing = cache_->make_data_durable(request);
  const Status status = co_await flushing;
  if (status.ok() || !options_.writable) co_return status;
  co_return stop_changes("a flush of the data has failed");
}

// Several that wait share a commit that has begun after all of them.
Task LiveTransaction::flush_changes(Request& request) {
  const uint64_t begun = commits_begun_.load();
  AsyncMutex::Hold hold(mutex_, *request.ring);
  co_await hold;
  if (commits_begun_.load() != begun) co_return last_commit_;
  Task committing = is_committed() ? flush_data(request) : commit(request);
  co_return co_await committing;
}

Task LiveTransaction::commit(Request& request) {
  if (is_committed()) co_return kOk;
  ++commits_begun_;
  Task writing = write_commit(request);
  last_commit_ = co_await writing;
  if (!last_commit_.ok()) {
    co_return stop_changes(fmt::format("a commit has failed ({}): the pool must be opened again",
                                       std::strerror(last_commit_.error())));
  }
  transaction_->settle();
  changed_.store(false, std::memory_order_release);
  numbers_.commits.fetch_add(1, std::memory_order_relaxed);
  ++space_made_;
  dropped_.insert(dropped_.end(), freed_.begin(), freed_.end());
  freed_.clear();
  if (options_.discards != Discards::pass) free_dropped();
  note_numbers();
  co_return kOk;
}

// Data, metadata, superblock: each is durable before the next is written (T6.1).
Task LiveTransaction::write_commit(Request& request) {
  if (is_read_only()) co_return Status::from_errno(EIO);
  Error error;
  const auto seal = [this] { return transaction_->seal(sealed_); };
  Task sealing = read(request, seal, error);
  if (const Status status = co_await sealing; !status.ok()) {
    log().error("{}: {}", options_.name, error.text);
    co_return Status::from_errno(EIO);
  }
  Task flushing = cache_->make_data_durable(request);
  if (const Status status = co_await flushing; !status.ok()) co_return status;
  Task writing = write_blocks(request, sealed_.blocks);
  if (const Status status = co_await writing; !status.ok()) co_return status;
  const persistent::Sealed::NewBlock superblock{.number = persistent::kSuperblockNumber,
                                                .bytes = sealed_.superblock};
  Task ending = write_blocks(request, {&superblock, 1});
  co_return co_await ending;
}

Task LiveTransaction::write_blocks(Request& request,
                                   std::span<const persistent::Sealed::NewBlock> blocks) {
  for (const auto& block : blocks) {
    WritePin pin;
    Task taking = cache_->write_new(request, block.number, pin);
    if (const Status status = co_await taking; !status.ok()) co_return status;
    std::ranges::copy(block.bytes, pin.bytes().begin());
    pin.publish();
  }
  Task flushing = cache_->flush(request);
  co_return co_await flushing;
}

// --- What is free again.

void LiveTransaction::free_dropped() {
  if (dropped_.empty()) return;
  for (const uint64_t block : std::exchange(dropped_, {})) transaction_->free_data(block);
  ++space_made_;
}

std::vector<uint64_t> LiveTransaction::take_dropped() {
  const size_t count = std::min(dropped_.size(), kDiscardMost);
  std::vector<uint64_t> taken(dropped_.end() - static_cast<ptrdiff_t>(count), dropped_.end());
  dropped_.resize(dropped_.size() - count);
  std::ranges::sort(taken);
  is_discarding_ = !taken.empty();
  return taken;
}

void LiveTransaction::release(std::span<const uint64_t> blocks) {
  for (const uint64_t block : blocks) transaction_->free_data(block);
  is_discarding_ = false;
  ++space_made_;
}

void LiveTransaction::give_back(std::span<const ServedTransaction::Placing> placings) {
  transaction_->give_back(placings);
  ++space_made_;
}

// --- What it tells.

Status LiveTransaction::stop_changes(std::string reason) {
  return stop(Until::opened_again, std::move(reason));
}

Status LiveTransaction::stop_for_metadata() {
  return stop(Until::more_metadata,
              "there is no space for metadata: let its device grow, then resize");
}

// What is worse than that it waits for metadata ends the wait: it must not resume then.
Status LiveTransaction::stop(Until until, std::string reason) {
  const bool waits = until == Until::more_metadata;
  {
    const std::scoped_lock guard(reason_mutex_);
    if (is_read_only() && (waits || !is_out_of_metadata_)) return Status::from_errno(EIO);
    reason_ = reason;
    is_out_of_metadata_ = waits;
    read_only_ = true;
  }
  log().error("{}: {}; it takes no writes any more", options_.name, reason);
  tell(reason);
  return Status::from_errno(EIO);
}

void LiveTransaction::resume_with_metadata() {
  const std::scoped_lock guard(reason_mutex_);
  if (std::exchange(is_out_of_metadata_, false)) read_only_ = false;
}

std::string LiveTransaction::reason() const {
  const std::scoped_lock guard(reason_mutex_);
  return reason_;
}

void LiveTransaction::note_full() {
  if (was_full_.exchange(true)) return;
  const char* const text = "all data blocks are in use";
  log().warn("{}: {}: writes to new blocks wait for {} s", options_.name, text,
             std::chrono::duration_cast<std::chrono::seconds>(options_.no_space_timeout).count());
  tell(text);
}

void LiveTransaction::note_numbers() {
  numbers_.note(*transaction_);
  const char* const low = numbers_.low_on(options_.low_water_percent);
  if (low == nullptr) was_full_.store(false, std::memory_order_relaxed);
  if (is_low_.exchange(low != nullptr, std::memory_order_relaxed) == (low != nullptr)) return;
  tell(low == nullptr ? "there is space again"
                      : fmt::format("of the {} blocks less than {}% are free", low,
                                    options_.low_water_percent));
}

void LiveTransaction::tell(const std::string& text) const {
  emit({.kind = kHealthChanged, .text = text, .target = options_.name});
}

Health LiveTransaction::health() const {
  Health health;
  numbers_.tell(health);
  if (is_read_only()) {
    health.state = HealthState::failed;
    health.reason = reason();
  } else if (const char* const low = numbers_.low_on(options_.low_water_percent)) {
    health.state = HealthState::degraded;
    health.reason =
        fmt::format("of the {} blocks less than {}% are free", low, options_.low_water_percent);
  }
  return health;
}

}  // namespace sluice::thin
