#include "image/pool_restore.hpp"

#include <fmt/format.h>

namespace sluice::image {

using persistent::Mapping;
using persistent::Transaction;

namespace {

constexpr uint64_t kMappingsOfCommit = 1'000'000;  // some 20 MB

}  // namespace

Result<void> PoolRestore::pool(const PoolXmlFacts& facts) {
  auto made = Transaction::create(reader_, {.metadata_blocks = reader_.blocks(),
                                            .data_blocks = facts.data_blocks,
                                            .data_block_sectors = facts.data_block_sectors});
  if (!made) return std::unexpected(made.error());
  pool_ = std::move(*made);
  pool_->restore_state(facts.time, facts.transaction_id, facts.flags);
  if (auto erased = writer_.erase_superblock(); !erased) return erased;
  writer_.hold_superblock(true);
  return {};
}

Result<void> PoolRestore::device(uint64_t id, const persistent::DeviceDetails& details) {
  if (auto ended = end_device(); !ended) return ended;
  id_ = id;
  details_ = details;
  return pool_->restore_device(id, details);
}

Result<void> PoolRestore::run(const persistent::MappedRun& run) {
  for (uint64_t i = 0; i < run.length; ++i) {
    const Mapping mapping{.data_block = run.data_block + i, .time = run.time};
    auto restored = pool_->restore_mapping(*id_, run.device_block + i, mapping);
    if (!restored) return restored;
    if (++uncommitted_ < kMappingsOfCommit) continue;
    uncommitted_ = 0;
    if (auto committed = pool_->commit(writer_); !committed) return committed;
  }
  return {};
}

Result<void> PoolRestore::end() {
  if (auto ended = end_device(); !ended) return ended;
  writer_.hold_superblock(false);
  return pool_->commit(writer_);
}

Result<void> PoolRestore::end_device() {
  if (!id_) return {};
  const auto found = pool_->details(*id_);
  if (!found) return std::unexpected(found.error());
  if (found->mapped_blocks == details_.mapped_blocks) return {};
  return fail(EINVAL, fmt::format("device {} has {} mappings, and says that it has {}", *id_,
                                  found->mapped_blocks, details_.mapped_blocks));
}

}  // namespace sluice::image
