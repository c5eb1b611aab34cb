#include "persistent/block.hpp"

#include <fmt/format.h>
#include <isa-l/crc.h>

#include <utility>

#include "core/little_endian.hpp"

namespace sluice::persistent {
namespace {

constexpr size_t kChecksumPlace = 0;
constexpr size_t kNumberPlace = 8;

uint32_t checksum(BlockKind kind, ConstBlock block) {
  constexpr size_t kFirst = sizeof(uint32_t);
  constexpr uint32_t kInitial = UINT32_MAX;
  // The library does not write to it.
  auto* const bytes =
      const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(block.data()));
  const uint32_t crc =
      crc32_iscsi(bytes + kFirst, static_cast<int>(kBlockBytes - kFirst), kInitial);
  return crc ^ std::to_underlying(kind);
}

}  // namespace

const char* name_of(BlockKind kind) {
  switch (kind) {
    case BlockKind::superblock:
      return "superblock";
    case BlockKind::node:
      return "B-tree node";
    case BlockKind::index:
      return "space map index";
    case BlockKind::bitmap:
      return "space map bitmap";
  }
  return "block";
}

Result<void> verify(BlockKind kind, uint64_t number, ConstBlock block) {
  const auto found = load_little_endian<uint32_t>(block, kChecksumPlace);
  const uint32_t wanted = checksum(kind, block);
  if (found != wanted) {
    return fail(EILSEQ, fmt::format("block {} is damaged: as {}, its checksum is {:#x}, not {:#x}",
                                    number, name_of(kind), wanted, found));
  }
  const auto place = load_little_endian<uint64_t>(block, kNumberPlace);
  if (place != number) {
    return fail(EILSEQ, fmt::format("block {} has the {} that belongs at block {}", number,
                                    name_of(kind), place));
  }
  return {};
}

void seal(BlockKind kind, uint64_t number, Block block) {
  store_little_endian(block, kNumberPlace, number);
  store_little_endian(block, kChecksumPlace, checksum(kind, block));
}

}  // namespace sluice::persistent
