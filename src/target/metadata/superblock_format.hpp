// SuperblockFormat: the layout of a superblock on a disk, and the choice between its two copies.
//
// The layout is described in docs/formats/superblock.md. Functions on memory, without state or I/O.
// They accept any bytes: each field is checked before it is used.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/error.hpp"

namespace sluice {

inline constexpr size_t kSuperblockHeaderBytes = 32;

// Distinguishes one format that has a superblock from another. A constant of the format's owner.
struct SuperblockFormat {
  std::string_view name;                // for messages: "thin pool"
  std::array<char, 8> magic{};          // the first bytes of a copy
  uint32_t oldest_version = 1;          // the oldest that this program reads
  uint32_t version = 1;                 // the newest that it reads, and the one it writes
  std::array<uint64_t, 2> places = {};  // of the copies: bytes from the beginning of the child
  uint32_t copy_bytes = 4096;           // of one copy, header included

  uint32_t most_payload_bytes() const { return copy_bytes - kSuperblockHeaderBytes; }
};

struct SuperblockCopy {
  enum class State : uint8_t {
    valid,       // its checksum is right; its version may be unsupported
    foreign,     // it does not begin with the magic
    damaged,     // it was written only in part, or has changed since
    unreadable,  // the disk cannot read it
  };

  State state = State::unreadable;
  uint32_t version = 0;  // this and the rest: only if valid
  uint64_t generation = 0;
  std::span<const std::byte> payload{};  // in the bytes that were read
};

// `bytes`: one whole copy. A shorter one is damaged.
SuperblockCopy read_superblock_copy(const SuperblockFormat& format,
                                    std::span<const std::byte> bytes);

// Fills all of `bytes`, which has `copy_bytes`. The payload is not longer than the format allows,
// and does not lie in `bytes`; the generation is not 0.
void make_superblock_copy(const SuperblockFormat& format, uint32_t version, uint64_t generation,
                          std::span<const std::byte> payload, std::span<std::byte> bytes);

// Returns the index of the newest valid copy. EILSEQ: none is valid, or both have the same
// generation and differ; EOPNOTSUPP: this program does not read the version of the newest, and the
// older copy must not replace it; EIO: neither can be read.
Result<size_t> choose_superblock(const SuperblockFormat& format,
                                 const std::array<SuperblockCopy, 2>& copies);

// Describes the fault of copy `index` as part of a sentence: "the copy at byte 0 has a wrong
// checksum".
std::string describe_superblock_copy(const SuperblockFormat& format, size_t index,
                                     const SuperblockCopy& copy);

}  // namespace sluice
