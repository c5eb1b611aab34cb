// Pool: growth.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/log.hpp"
#include "persistent/space_map_format.hpp"
#include "ring/ring.hpp"
#include "target/thin/pool.hpp"

namespace sluice::thin {
namespace {

constexpr uint64_t kMetadataLeast = 1 << 20;  // bytes that it grows by

}  // namespace

Result<void> Pool::follow_devices() {
  const std::scoped_lock guard(growing_);
  for (Target* const device : {&metadata_, &data_}) {
    const auto size = device->resize(std::nullopt);
    if (!size && size.error().error != EOPNOTSUPP) return std::unexpected(size.error());
  }
  return {};
}

Task Pool::grow(Request& request, std::string& why) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  const uint64_t data_blocks = data_.geometry().size_bytes / block_bytes_;
  const uint64_t metadata_blocks = std::min(
      metadata_.geometry().size_bytes / persistent::kBlockBytes, persistent::kMetadataBlocksMost);
  const persistent::Superblock& superblock = live_->superblock();
  const bool more_metadata = metadata_blocks > superblock.metadata_space_map.blocks;
  const bool more_data = data_blocks > superblock.data_space_map.blocks;
  if (!more_metadata && !more_data) co_return kOk;
  if (more_metadata) live_.resume_with_metadata();
  // The new metadata has room for the bitmaps of the new data.
  const auto step = [&]() -> Result<void> {
    if (more_metadata && live_->superblock().metadata_blocks < metadata_blocks) {
      if (auto grown = live_->grow_metadata(metadata_blocks); !grown) return grown;
    }
    return more_data ? live_->grow_data(data_blocks) : Result<void>();
  };
  Error error;
  Task growing = live_.change(request, step, error);
  Status status = co_await growing;
  if (status.ok()) {
    Task committing = live_.commit(request);
    status = co_await committing;
    if (!status.ok()) why = live_.reason();
  } else {
    why = std::move(error.text);
  }
  if (status.ok()) {
    log().info("{}: {} data blocks of {} bytes, and {} of metadata", options_.name, data_blocks,
               block_bytes_, metadata_blocks);
  }
  co_return status;
}

// At the low water, or where a request finds too little. A device that has more than the pool uses
// is not extended, so that a pool that cannot use it does not let it grow for ever.
Task Pool::grow_by_itself(Request& request, bool is_full) {
  if (options_.autogrow_bytes == 0 || !options_.writable) co_return kOk;
  AsyncMutex::Hold hold(growing_by_itself_, *request.ring);
  co_await hold;
  const PoolNumbers& numbers = live_.numbers();
  const bool data_low = is_full || numbers.is_data_low(options_.low_water_percent);
  const bool metadata_low = numbers.is_metadata_low(options_.low_water_percent);
  if (!data_low && !metadata_low) {
    cannot_grow_ = false;
    co_return kOk;
  }
  bool has_grown = true;
  const uint64_t metadata_bytes = metadata_.geometry().size_bytes;
  const uint64_t metadata_blocks = metadata_bytes / persistent::kBlockBytes;
  if (metadata_low && metadata_blocks <= numbers.metadata_blocks &&
      metadata_blocks < persistent::kMetadataBlocksMost) {
    has_grown &= extend(
        metadata_, std::max(kMetadataLeast, metadata_bytes / 4 / kMetadataLeast * kMetadataLeast));
  }
  if (data_low && data_.geometry().size_bytes / block_bytes_ <= numbers.data_blocks) {
    has_grown &= extend(data_, options_.autogrow_bytes);
  }
  std::string why;
  Task growing = grow(request, why);
  if (const Status status = co_await growing; !status.ok()) {
    has_grown = false;
    if (!cannot_grow_) log().error("{}: it cannot grow: {}", options_.name, why);
  }
  cannot_grow_ = !has_grown;
  co_return kOk;
}

bool Pool::extend(Target& device, uint64_t bytes) {
  const std::scoped_lock guard(growing_);
  const uint64_t size = device.geometry().size_bytes;
  const auto grown = device.resize(size + bytes);
  if (!grown && !cannot_grow_) {
    log().error("{}: {} cannot grow by {} bytes: {}", options_.name, device.name(), bytes,
                grown.error().text);
  }
  return grown.has_value();
}

}  // namespace sluice::thin
