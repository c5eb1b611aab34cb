// The blocks of the kernel's persistent-data format, their checksums and their kinds.
//
// The layout is docs/formats/thin.md. Functions on memory, without state or I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/error.hpp"

namespace sluice::persistent {

inline constexpr size_t kBlockBytes = 4096;

using Block = std::span<std::byte, kBlockBytes>;
using ConstBlock = std::span<const std::byte, kBlockBytes>;

// What the checksum of each kind is combined with.
enum class BlockKind : uint32_t {
  superblock = 160774,
  node = 121107,  // of a B-tree
  index = 160478,
  bitmap = 240779,
};

// "B-tree node".
const char* name_of(BlockKind kind);

// EILSEQ: a wrong checksum, or written to another place than `number`.
Result<void> verify(BlockKind kind, uint64_t number, ConstBlock block);

// Sets the number, then the checksum: last of all.
void seal(BlockKind kind, uint64_t number, Block block);

}  // namespace sluice::persistent
