// An image in memory, made by create_image(), with access to its tables.
#pragma once

#include <sys/mman.h>

#include <gtest/gtest.h>

#include "core/big_endian.hpp"
#include "core/descriptor.hpp"
#include "target/qcow2/l2_entry.hpp"
#include "target/qcow2/offline/create.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/refcount_block.hpp"

namespace sluice::qcow2::test {

class MemoryImage {
 public:
  explicit MemoryImage(const CreateOptions& options)
      : file_(memfd_create("image", MFD_CLOEXEC)), data_(memfd_create("data", MFD_CLOEXEC)) {
    const auto made = create_image(file_.number(), data_.number(), options);
    EXPECT_TRUE(made) << made.error().text;
    const auto read = read_image_header(file_.number());
    EXPECT_TRUE(read) << read.error().text;
    header = read.value_or(Header{});
  }

  int descriptor() const { return file_.number(); }
  uint64_t size() const { return image_bytes(descriptor()).value_or(0); }
  std::vector<std::byte> all() const { return *read_image(descriptor(), 0, size()); }

  uint64_t number(uint64_t offset) const {
    return load_big_endian<uint64_t>(*read_image(descriptor(), offset, 8), 0);
  }
  void set_number(uint64_t offset, uint64_t number) const {
    std::array<std::byte, 8> bytes;
    store_big_endian(bytes, 0, number);
    EXPECT_TRUE(write_image(descriptor(), offset, bytes));
  }

  uint64_t l1_place(uint64_t index) const { return header.l1_offset + index * 8; }
  // Of the entry for a guest cluster, which has an L2 table.
  uint64_t l2_place(uint64_t guest_cluster) const {
    const uint64_t table = number(l1_place(guest_cluster / header.l2_entries())) & kOffsetMask;
    return table + guest_cluster % header.l2_entries() * header.l2_entry_bytes();
  }
  uint64_t host_cluster(uint64_t guest_cluster) const {
    return (number(l2_place(guest_cluster)) & kOffsetMask) / header.cluster_bytes();
  }
  uint64_t block_place(uint64_t cluster) const {
    return header.refcount_table_offset + cluster / header.refcounts_per_block() * 8;
  }
  uint64_t refcount(uint64_t cluster) const {
    return get_refcount(block(cluster), header.refcount_order,
                        cluster % header.refcounts_per_block());
  }
  void set_refcount(uint64_t cluster, uint64_t value) const {
    auto bytes = block(cluster);
    qcow2::set_refcount(bytes, header.refcount_order, cluster % header.refcounts_per_block(),
                        value);
    EXPECT_TRUE(write_image(descriptor(), number(block_place(cluster)), bytes));
  }

  Header header;

 private:
  std::vector<std::byte> block(uint64_t cluster) const {
    return *read_image(descriptor(), number(block_place(cluster)), header.cluster_bytes());
  }

  Descriptor file_;
  Descriptor data_;
};

// 4 MiB in clusters of 4 KiB, all of them allocated.
inline CreateOptions small_and_full() {
  return {.size_bytes = 4 << 20, .cluster_bits = 12, .preallocation = Preallocation::metadata};
}

}  // namespace sluice::qcow2::test
