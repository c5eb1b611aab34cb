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

// At the low water.
Task Pool::grow_by_itself(Request& request) {
  if (options_.autogrow_bytes == 0 || !options_.writable) co_return kOk;
  AsyncMutex::Hold hold(growing_by_itself_, *request.ring);
  co_await hold;
  const PoolNumbers& numbers = live_.numbers();
  const bool data_low = numbers.is_data_low(options_.low_water_percent);
  const bool metadata_low = numbers.is_metadata_low(options_.low_water_percent);
  if (!data_low && !metadata_low) cannot_grow_ = false;
  if ((!data_low && !metadata_low) || cannot_grow_) co_return kOk;
  const uint64_t metadata_bytes = std::max(
      kMetadataLeast, metadata_.geometry().size_bytes / 4 / kMetadataLeast * kMetadataLeast);
  const bool extended = (!metadata_low || extend(metadata_, metadata_bytes)) &&
                        (!data_low || extend(data_, options_.autogrow_bytes));
  cannot_grow_ = !extended;
  std::string why;
  Task growing = grow(request, why);
  const Status status = co_await growing;
  if (!status.ok()) log().error("{}: it cannot grow: {}", options_.name, why);
  co_return kOk;
}

bool Pool::extend(Target& device, uint64_t bytes) {
  const std::scoped_lock guard(growing_);
  const uint64_t size = device.geometry().size_bytes;
  const auto grown = device.resize(size + bytes);
  if (!grown) {
    log().error("{}: {} cannot grow by {} bytes: {}", options_.name, device.name(), bytes,
                grown.error().text);
  }
  return grown.has_value();
}

}  // namespace sluice::thin
