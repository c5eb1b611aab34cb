// What can be read of the metadata of a pool that is damaged, for a new pool that is made of it.
//
// The space maps are not read: whoever makes the new pool counts anew. Where the superblock or the
// trees that it leads to are lost, all blocks are searched for others. Blocks. Nothing is written.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "persistent/check.hpp"
#include "persistent/devices.hpp"

namespace sluice::persistent {

// What the user says, in place of what the superblock does.
struct SalvageFacts {
  std::optional<uint64_t> transaction_id = std::nullopt;
  std::optional<uint64_t> data_blocks = std::nullopt;
  std::optional<uint32_t> data_block_sectors = std::nullopt;
};

struct Salvage {
  static constexpr size_t kSentencesMost = 100;

  uint32_t time = 0;
  uint64_t transaction_id = 0;
  uint64_t data_blocks = 0;
  uint32_t data_block_sectors = 0;
  std::vector<ThinDevice> devices = {};  // their mapped blocks are those that can be read

  std::vector<std::string> sentences = {};  // what is lost or assumed; the first kSentencesMost
  uint64_t more_sentences = 0;              // how many were left out

  void say(std::string sentence);
};

// EINVAL: there are no trees of a pool, or the size of the data blocks is nowhere.
Result<Salvage> find_salvage(BlockReader& reader, const SalvageFacts& facts,
                             const CheckProgress& progress);

// Calls `take` for each run of a device that can be read, in order. Ends with the first error of
// `take`.
Result<void> for_each_salvaged_run(BlockReader& reader, const Salvage& salvage,
                                   const ThinDevice& device,
                                   const std::function<Result<void>(const MappedRun&)>& take);

}  // namespace sluice::persistent
