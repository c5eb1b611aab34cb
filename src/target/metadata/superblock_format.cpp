#include "target/metadata/superblock_format.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <memory>

namespace sluice {
namespace {

// Offsets of the fields after the magic.
constexpr size_t kVersionAt = 8;
constexpr size_t kPayloadBytesAt = 12;
constexpr size_t kGenerationAt = 16;
constexpr size_t kChecksumAt = 24;

template <typename Integer>
Integer in_little_endian(Integer value) {
  return std::endian::native == std::endian::little ? value : std::byteswap(value);
}

template <typename Integer>
Integer get(std::span<const std::byte> bytes, size_t at) {
  Integer value{};
  std::memcpy(&value, bytes.subspan(at, sizeof(value)).data(), sizeof(value));
  return in_little_endian(value);
}

template <typename Integer>
void put(std::span<std::byte> bytes, size_t at, Integer value) {
  value = in_little_endian(value);
  std::memcpy(bytes.subspan(at, sizeof(value)).data(), &value, sizeof(value));
}

// The checksum of the header up to the checksum field, and of the payload.
uint64_t checksum_of(std::span<const std::byte> bytes, size_t payload_bytes) {
  // XXH3 of the payload, seeded with the XXH3 of the header.
  const uint64_t header = XXH3_64bits(bytes.data(), kChecksumAt);
  const auto payload = bytes.subspan(kSuperblockHeaderBytes, payload_bytes);
  return XXH3_64bits_withSeed(payload.data(), payload.size(), header);
}

bool same_content(const SuperblockCopy& one, const SuperblockCopy& other) {
  return one.version == other.version && std::ranges::equal(one.payload, other.payload);
}

}  // namespace

SuperblockCopy read_superblock_copy(const SuperblockFormat& format,
                                    std::span<const std::byte> bytes) {
  using State = SuperblockCopy::State;
  if (bytes.size() < format.magic.size() ||
      std::memcmp(bytes.data(), format.magic.data(), format.magic.size()) != 0) {
    return {.state = State::foreign};
  }
  if (bytes.size() < kSuperblockHeaderBytes) return {.state = State::damaged};
  const auto payload_bytes = get<uint32_t>(bytes, kPayloadBytesAt);
  const auto generation = get<uint64_t>(bytes, kGenerationAt);
  const size_t most = std::min<size_t>(bytes.size(), format.copy_bytes) - kSuperblockHeaderBytes;
  if (payload_bytes > most || generation == 0 ||
      get<uint64_t>(bytes, kChecksumAt) != checksum_of(bytes, payload_bytes)) {
    return {.state = State::damaged};
  }
  return {.state = State::valid,
          .version = get<uint32_t>(bytes, kVersionAt),
          .generation = generation,
          .payload = bytes.subspan(kSuperblockHeaderBytes, payload_bytes)};
}

void make_superblock_copy(const SuperblockFormat& format, uint32_t version, uint64_t generation,
                          std::span<const std::byte> payload, std::span<std::byte> bytes) {
  assert(bytes.size() == format.copy_bytes && payload.size() <= format.most_payload_bytes());
  assert(generation != 0);
  std::ranges::fill(bytes, std::byte{0});
  std::memcpy(bytes.data(), format.magic.data(), format.magic.size());
  put<uint32_t>(bytes, kVersionAt, version);
  put<uint32_t>(bytes, kPayloadBytesAt, static_cast<uint32_t>(payload.size()));
  put<uint64_t>(bytes, kGenerationAt, generation);
  std::ranges::copy(payload, bytes.subspan(kSuperblockHeaderBytes).begin());
  put<uint64_t>(bytes, kChecksumAt, checksum_of(bytes, payload.size()));
}

Result<size_t> choose_superblock(const SuperblockFormat& format,
                                 const std::array<SuperblockCopy, 2>& copies) {
  using State = SuperblockCopy::State;
  const auto& [first, second] = copies;
  if (first.state != State::valid && second.state != State::valid) {
    const bool unreadable = first.state == State::unreadable && second.state == State::unreadable;
    return fail(unreadable ? EIO : EILSEQ,
                fmt::format("no superblock of a {} is there: {}, and {}; check that this is the "
                            "right file or disk",
                            format.name, describe_superblock_copy(format, 0, first),
                            describe_superblock_copy(format, 1, second)));
  }
  const bool both = first.state == State::valid && second.state == State::valid;
  if (both && first.generation == second.generation && !same_content(first, second)) {
    return fail(EILSEQ, fmt::format("both superblocks of the {} are generation {} and they differ: "
                                    "two programs have written to it at the same time",
                                    format.name, first.generation));
  }
  size_t newest = first.state == State::valid ? 0 : 1;
  if (both && second.generation > first.generation) newest = 1;
  const uint32_t version = copies[newest].version;
  if (version >= format.oldest_version && version <= format.version) return newest;
  return fail(EOPNOTSUPP,
              fmt::format("the {} is of version {}, and this program reads versions {} to {}: use "
                          "a program that is {}",
                          format.name, version, format.oldest_version, format.version,
                          version > format.version ? "newer" : "older"));
}

std::string describe_superblock_copy(const SuperblockFormat& format, size_t index,
                                     const SuperblockCopy& copy) {
  std::string_view found;
  switch (copy.state) {
    case SuperblockCopy::State::valid:
      found = "is valid";
      break;
    case SuperblockCopy::State::foreign:
      found = "has another magic";
      break;
    case SuperblockCopy::State::damaged:
      found = "has a wrong checksum";
      break;
    case SuperblockCopy::State::unreadable:
      found = "cannot be read";
      break;
  }
  return fmt::format("the copy at byte {} {}", format.places[index], found);
}

}  // namespace sluice
