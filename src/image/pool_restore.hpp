// PoolRestore: makes a pool as its description comes, such as that of an XML text.
//
// Blocks; used by one thread. What is in memory is written now and then, the superblock at the end:
// what an interruption leaves is no pool.
#pragma once

#include <memory>
#include <optional>

#include "image/metadata_writer.hpp"
#include "image/pool_xml.hpp"
#include "persistent/transaction.hpp"

namespace sluice::image {

class PoolRestore final : public PoolXmlTaker {
 public:
  // Both outlive it; they are of the metadata that is overwritten.
  PoolRestore(MetadataReader& reader, MetadataWriter& writer) : reader_(reader), writer_(writer) {}

  Result<void> pool(const PoolXmlFacts& facts) override;
  // EINVAL: the device before has other mappings than it says.
  Result<void> device(uint64_t id, const persistent::DeviceDetails& details) override;
  Result<void> run(const persistent::MappedRun& run) override;
  // Now it is a pool.
  Result<void> end();

 private:
  Result<void> end_device();

  MetadataReader& reader_;
  MetadataWriter& writer_;
  std::unique_ptr<persistent::Transaction> pool_;
  std::optional<uint64_t> id_;  // of the last device
  persistent::DeviceDetails details_;
  uint64_t uncommitted_ = 0;
};

}  // namespace sluice::image
