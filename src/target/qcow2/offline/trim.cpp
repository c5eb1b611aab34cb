#include "target/qcow2/offline/trim.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "core/big_endian.hpp"
#include "target/qcow2/l2_entry.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/refcount_block.hpp"

namespace sluice::qcow2 {
namespace {

// Of a refcount block: how many of its clusters are up to the last one in use.
uint64_t used_clusters(std::span<const std::byte> block, const Header& header) {
  uint64_t used = header.refcounts_per_block();
  while (used != 0 && get_refcount(block, header.refcount_order, used - 1) == 0) --used;
  return used;
}

}  // namespace

Result<void> trim_image(int descriptor) {
  const auto header = read_image_header(descriptor);
  if (!header) return std::unexpected(header.error());
  const auto size = image_bytes(descriptor);
  if (!size) return std::unexpected(size.error());
  const auto table = read_image(descriptor, header->refcount_table_offset,
                                header->refcount_table_clusters * header->cluster_bytes());
  if (!table) return std::unexpected(table.error());
  for (uint64_t index = table->size() / sizeof(uint64_t); index-- != 0;) {
    const auto place = load_big_endian<uint64_t>(*table, index * sizeof(uint64_t));
    if (place == 0) continue;
    const auto block = read_image(descriptor, place, header->cluster_bytes());
    if (!block) return std::unexpected(block.error());
    const uint64_t used = used_clusters(*block, *header);
    if (used == 0) continue;
    const uint64_t end = (index * header->refcounts_per_block() + used) * header->cluster_bytes();
    if (end >= *size || ftruncate(descriptor, static_cast<off_t>(end)) == 0) return {};
    return fail(errno, fmt::format("cannot shorten the file: {}", std::strerror(errno)));
  }
  return {};
}

}  // namespace sluice::qcow2
