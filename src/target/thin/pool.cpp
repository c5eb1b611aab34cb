#include "target/thin/pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "ring/ring.hpp"
#include "target/plain_request.hpp"

namespace sluice::thin {
namespace {

constexpr uint64_t kUnmapMost = 256;  // blocks in one step
constexpr std::chrono::milliseconds kSpaceLook{100};
constexpr std::chrono::seconds kDiscardsMost{5};        // at the end
constexpr std::chrono::milliseconds kDiscardTime{500};  // of a step, at most

}  // namespace

Pool::Pool(PoolOptions options, Target& metadata, Target& data)
    : options_(std::move(options)),
      metadata_(metadata),
      data_(data),
      live_(options_, metadata, data),
      mappings_(options_.mapping_bytes) {}

// --- Life.

Task Pool::open(Request& request, LifeCall& call) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  is_ending_ = false;
  Error error;
  Task opening = live_.open(request, call.purpose == LifeCall::Purpose::look, error);
  if (const Status opened = co_await opening; !opened.ok()) {
    const bool needs_check = error.error == EUCLEAN;
    co_return call.fail(opened.error(), needs_check
                                            ? fmt::format("{}: see sluice thin check", error.text)
                                            : std::move(error.text));
  }
  const persistent::Superblock& superblock = live_->superblock();
  block_bytes_ = superblock.data_block_bytes();
  const uint64_t blocks = superblock.data_space_map.blocks;
  const uint64_t there = data_.geometry().size_bytes / block_bytes_;
  Status status;
  if (there >= blocks) {
    Task noting = note_ids(request);
    status = co_await noting;
    if (status.ok()) co_return status;
    call.why = "the list of its volumes cannot be read";
  } else {
    status = call.fail(
        EINVAL, fmt::format("the pool has {} data blocks of {} bytes, and the data device only {}: "
                            "give the device that belongs to it",
                            blocks, block_bytes_, there));
  }
  Task closing = live_.close(request);
  std::ignore = co_await closing;
  co_return status;
}

Task Pool::open_volume(Request& request, LifeCall& call, Volume& volume) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  Error error;
  Task noting = note_snapshot_time(request, volume, error);
  if (const Status status = co_await noting; !status.ok()) {
    co_return call.fail(status.error(), std::move(error.text));
  }
  if (volumes_.try_emplace(volume.id(), &volume).second) co_return kOk;
  co_return call.fail(EEXIST, fmt::format("volume {} is served already", volume.id()));
}

Task Pool::close_volume(Request& request, Volume& volume) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  if (served(volume.id()) == &volume) volumes_.erase(volume.id());
  co_return kOk;
}

Task Pool::close(Request& request) {
  const auto end = std::chrono::steady_clock::now() + kDiscardsMost;
  while (options_.writable && live_.has_freed() && std::chrono::steady_clock::now() < end) {
    Task tidying = tidy(request);
    if (const Status status = co_await tidying; !status.ok()) break;
  }
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  Task closing = live_.close(request);
  co_return co_await closing;
}

// --- Mappings.

Task Pool::load(Request& request, Volume& volume, uint64_t block, MappingCache::Group& group) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  const uint64_t first = block / MappingCache::kGroup * MappingCache::kGroup;
  const auto step = [&] {
    group = {};
    const auto take = [&](uint64_t at, persistent::Mapping mapping) {
      group[at - first] = Place(mapping.data_block, mapping.time < volume.snapshotted_time());
      return true;
    };
    return live_->visit(volume.id(), first, first + MappingCache::kGroup, take);
  };
  Error error;
  Task reading = live_.read(request, step, error);
  if (const Status status = co_await reading; !status.ok()) co_return status;
  const uint64_t most = data_.geometry().size_bytes / block_bytes_;
  for (const Place& place : group) {
    if (!place.is_mapped() || place.data_block() < most) continue;
    co_return live_.stop_changes(fmt::format("volume {} has data block {}, and there are {}",
                                             volume.id(), place.data_block(), most));
  }
  mappings_.put(volume.view(), block, group);
  co_return kOk;
}

Task Pool::reserve(Request& request, std::span<Placing> placings) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  const auto step = [&] { return live_->reserve(placings); };
  Task reserving = change(request, step);
  co_return co_await reserving;
}

// Again after a commit if there is no space.
Task Pool::change(Request& request, Step step) {
  for (bool has_room : {false, true}) {
    Error error;
    Task changing = live_.change(request, step, error);
    const Status status = co_await changing;
    if (status.error() != ENOSPC || has_room) co_return status;
    Task making = make_room(request);
    if (const Status made = co_await making; !made.ok()) co_return made;
  }
  co_return Status::from_errno(ENOSPC);
}

// What was freed, but cannot be used before a commit or before its discard.
Task Pool::make_room(Request& request) {
  Task committing = live_.commit(request);
  if (const Status status = co_await committing; !status.ok()) co_return status;
  live_.free_dropped();
  co_return kOk;
}

Task Pool::map(Request& request, Volume& volume, std::span<const Placing> placings) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  const auto step = [&] { return live_->map(volume.id(), placings); };
  Task mapping = change(request, step);
  const Status status = co_await mapping;
  status.ok() ? live_->give_back(placings) : live_.give_back(placings);
  // What was committed can be read, and blocks that are mapped can be written (T6.2).
  if (status.error() == ENOSPC) co_return live_.stop_for_metadata();
  if (!status.ok()) co_return status;
  for (const Placing& placing : placings) {
    mappings_.change(volume.view(), placing.block, Place(placing.data_block, false));
  }
  live_.numbers().provisioned.fetch_add(placings.size(), std::memory_order_relaxed);
  co_return kOk;
}

Task Pool::give_back(Request& request, std::span<const Placing> placings) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  live_.give_back(placings);
  co_return kOk;
}

Task Pool::unmap(Request& request, Volume& volume, uint64_t& begin, uint64_t end) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  std::vector<uint64_t> blocks;
  uint64_t next = end;
  const auto step = [&]() -> Result<void> {
    blocks.clear();
    next = end;
    const auto take = [&](uint64_t block, persistent::Mapping) {
      if (blocks.size() == kUnmapMost) {
        next = block;
        return false;
      }
      blocks.push_back(block);
      return true;
    };
    if (auto found = live_->visit(volume.id(), begin, end, take); !found) return found;
    return blocks.empty() ? Result<void>() : live_->unmap(volume.id(), blocks, live_.freed());
  };
  Task unmapping = change(request, step);
  if (const Status status = co_await unmapping; !status.ok()) co_return status;
  for (const uint64_t block : blocks) mappings_.change(volume.view(), block, Place());
  live_.numbers().unmapped.fetch_add(blocks.size(), std::memory_order_relaxed);
  begin = next;
  co_return kOk;
}

Task Pool::find_mapped(Request& request, Volume& volume, uint64_t& begin, uint64_t end) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  uint64_t found = end;
  const auto step = [&] {
    found = end;
    return live_->visit(volume.id(), begin, end, [&](uint64_t block, persistent::Mapping) {
      found = block;
      return false;
    });
  };
  Error error;
  Task reading = live_.read(request, step, error);
  const Status status = co_await reading;
  if (status.ok()) begin = found;
  co_return status;
}

Task Pool::wait_for_space(Request& request, uint64_t made,
                          std::chrono::steady_clock::time_point deadline) {
  Task growing = grow_by_itself(request, true);
  if (const Status status = co_await growing; !status.ok()) co_return status;
  if (live_.space_made() != made) co_return kOk;
  live_.note_full();
  while (live_.space_made() == made) {
    const bool is_late = std::chrono::steady_clock::now() >= deadline && !live_.is_discarding();
    if (is_ending_.load() || is_late) co_return Status::from_errno(ENOSPC);
    auto pause = request.ring->sleep(kSpaceLook);
    if (const Status status = co_await pause; !status.ok()) co_return status;
  }
  co_return kOk;
}

// --- Housekeeping.

Task Pool::tidy(Request& request) {
  if (!live_.is_committed() && !live_.is_read_only()) {
    Task flushing = live_.flush_changes(request);
    if (const Status status = co_await flushing; !status.ok()) co_return status;
  }
  Task growing = grow_by_itself(request, false);
  if (const Status status = co_await growing; !status.ok()) co_return status;
  const auto end = std::chrono::steady_clock::now() + kDiscardTime;
  do {
    std::vector<uint64_t> blocks;
    {
      AsyncMutex::Hold hold(live_.mutex(), *request.ring);
      co_await hold;
      blocks = live_.take_dropped();
    }
    if (blocks.empty()) co_return kOk;
    Task discarding = discard(request, blocks);
    std::ignore = co_await discarding;  // advice
    AsyncMutex::Hold hold(live_.mutex(), *request.ring);
    co_await hold;
    live_.release(blocks);
  } while (std::chrono::steady_clock::now() < end);
  co_return kOk;
}

// Neighbours together.
Task Pool::discard(Request& request, std::span<const uint64_t> blocks) {
  for (size_t first = 0; first < blocks.size();) {
    size_t end = first + 1;
    while (end < blocks.size() && blocks[end] == blocks[end - 1] + 1) ++end;
    Request discarding =
        plain(request, Op::discard, blocks[first] * block_bytes_, (end - first) * block_bytes_);
    Task discarded = data_.submit(discarding);
    if (const Status status = co_await discarded; !status.ok()) co_return status;
    first = end;
  }
  co_return kOk;
}

}  // namespace sluice::thin
