// Reads any bytes as the two copies of a superblock: they are refused with one printable sentence,
// or give a payload that lies in one of the copies and is written again unchanged.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "spec/shown.hpp"
#include "target/metadata/superblock_format.hpp"

namespace {

constexpr sluice::SuperblockFormat kFormat = {.name = "fuzzed",
                                              .magic = {'S', 'L', 'F', 'U', 'Z', 'Z', '0', '1'},
                                              .oldest_version = 1,
                                              .version = 3,
                                              .places = {0, 512},
                                              .copy_bytes = 512};

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "superblock_fuzz: %s\n", what);
  std::abort();
}

// Mutated bytes would never have a valid checksum: if the first byte is '+', a valid copy is made
// of the rest.
std::vector<std::byte> make_copy(std::span<const std::byte> input) {
  if (input.size() < 12 || input[0] != std::byte{'+'}) return {input.begin(), input.end()};
  const auto version = std::to_integer<uint32_t>(input[1]);
  const auto generation = std::to_integer<uint64_t>(input[2]) + 1;
  const auto payload = input.subspan(3, std::min<size_t>(input.size() - 3, 480));
  std::vector<std::byte> bytes(kFormat.copy_bytes);
  sluice::make_superblock_copy(kFormat, version, generation, payload, bytes);
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> input(reinterpret_cast<const std::byte*>(data), size);
  const std::array halves = {make_copy(input.first(size / 2)), make_copy(input.subspan(size / 2))};
  const std::array copies = {sluice::read_superblock_copy(kFormat, halves[0]),
                             sluice::read_superblock_copy(kFormat, halves[1])};
  const sluice::Result<size_t> chosen = sluice::choose_superblock(kFormat, copies);
  if (!chosen) {
    const std::string& sentence = chosen.error().text;
    require(chosen.error().error > 0 && !sentence.empty(), "no reason is given");
    require(sluice::is_utf8(sentence) && sentence.find('\n') == std::string::npos,
            "a sentence is not printable");
    require(sentence.size() < 1000, "a sentence is long");
    return 0;
  }
  require(*chosen < 2, "neither is chosen");
  const sluice::SuperblockCopy& copy = copies[*chosen];
  const std::vector<std::byte>& bytes = halves[*chosen];
  require(copy.version >= 1 && copy.version <= 3, "a version is chosen that cannot be read");
  require(copy.payload.size() <= kFormat.most_payload_bytes(), "the payload is too long");
  require(copy.payload.data() >= bytes.data() &&
              copy.payload.data() + copy.payload.size() <= bytes.data() + bytes.size(),
          "the payload lies outside");
  std::vector<std::byte> again(kFormat.copy_bytes);
  sluice::make_superblock_copy(kFormat, copy.version, copy.generation, copy.payload, again);
  const size_t used = sluice::kSuperblockHeaderBytes + copy.payload.size();
  require(
      std::equal(again.begin(), again.begin() + static_cast<std::ptrdiff_t>(used), bytes.begin()),
      "it is written in another way");
  return 0;
}
