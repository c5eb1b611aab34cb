// Checks the metadata of a pool as a whole: every block that the superblock leads to, and whether
// the space maps count exactly what is referenced.
//
// For metadata that nobody writes meanwhile. Blocks. Its memory grows with what is referenced, and
// it ends whatever the blocks contain.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "persistent/block_reader.hpp"
#include "persistent/superblock.hpp"

namespace sluice::persistent {

struct CheckResult {
  static constexpr size_t kSentencesMost = 100;

  uint64_t corruptions = 0;   // data is lost, or may be once the pool is written to
  uint64_t leaks = 0;         // blocks that nobody uses and nobody may use; harmless
  uint64_t check_errors = 0;  // blocks that could not be read
  bool needs_check = false;   // the flag of the superblock

  uint64_t devices = 0;
  uint64_t metadata_blocks = 0;       // of the space map
  uint64_t used_metadata_blocks = 0;  // that are referenced
  uint64_t data_blocks = 0;
  uint64_t used_data_blocks = 0;
  uint64_t mapped_blocks = 0;  // by all devices together

  std::vector<std::string> sentences = {};  // the first kSentencesMost of the faults
  uint64_t more_sentences = 0;              // how many were left out

  bool clean() const { return corruptions == 0 && leaks == 0 && check_errors == 0; }
};

// How far it has come: metadata blocks that were read, and those in use according to the space map.
using CheckProgress = std::function<void(uint64_t done, uint64_t all)>;

// Fails only if the superblock cannot be read or used.
Result<CheckResult> check(BlockReader& reader, const CheckProgress& progress);

}  // namespace sluice::persistent
