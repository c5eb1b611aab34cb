#include "target/qcow2/offline/create.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/big_endian.hpp"
#include "spec/size.hpp"
#include "target/qcow2/l2_entry.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/refcount_block.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kZeroesBytes = uint64_t{1} << 20;

// Where everything lies: the header, the refcount table, its blocks, the L1 table, the L2 tables
// and the data, in this order; in clusters.
struct NewLayout {
  uint64_t table = 1;
  uint64_t blocks = 1;
  uint64_t l1 = 1;
  uint64_t l2 = 0;
  uint64_t data = 0;

  uint64_t l1_begin() const { return 1 + table + blocks; }
  uint64_t l2_begin() const { return l1_begin() + l1; }
  uint64_t data_begin() const { return l2_begin() + l2; }
  uint64_t end() const { return data_begin() + data; }
};

NewLayout new_layout_for(const Header& header, bool with_data);
Result<void> write_new_refcounts(int descriptor, const Header& header, const NewLayout& layout);
Result<void> write_new_tables(int descriptor, const Header& header, const NewLayout& layout);
uint64_t quotient_up(uint64_t number, uint64_t by) { return number / by + (number % by != 0); }

}  // namespace

Result<void> create_image(int descriptor, int data_descriptor, const CreateOptions& options) {
  if (auto checked = check_create_options(options); !checked) return checked;
  Header header = header_for(options);
  const bool is_external = header.has(kExternalData);
  const bool with_tables = options.preallocation != Preallocation::off || options.data_file_raw;
  const NewLayout layout = new_layout_for(header, with_tables);
  const uint64_t cluster_bytes = header.cluster_bytes();
  if (layout.table * cluster_bytes > kRefcountTableBytesMax) {
    return fail(EINVAL, "the disk is too large to be preallocated: give a larger cluster_size");
  }
  header.refcount_table_offset = cluster_bytes;
  header.refcount_table_clusters = static_cast<uint32_t>(layout.table);
  header.l1_offset = layout.l1_begin() * cluster_bytes;
  const auto bytes = write_header(header);
  if (!bytes) return std::unexpected(bytes.error());
  const uint64_t end = layout.end() * cluster_bytes;
  if (auto done = preallocate(descriptor, 0, end, Preallocation::metadata); !done) return done;
  if (is_external) {
    if (auto done = preallocate(data_descriptor, 0, header.size_bytes, options.preallocation);
        !done) {
      return done;
    }
  } else if (with_tables) {
    const uint64_t begin = layout.data_begin() * cluster_bytes;
    if (auto done = preallocate(descriptor, begin, end - begin, options.preallocation); !done) {
      return done;
    }
  }
  if (auto done = write_new_refcounts(descriptor, header, layout); !done) return done;
  if (auto done = write_new_tables(descriptor, header, layout); !done) return done;
  if (is_external) {
    if (auto done = sync_image(data_descriptor); !done) return done;
  }
  if (auto done = sync_image(descriptor); !done) return done;
  if (auto done = write_image(descriptor, 0, *bytes); !done) return done;
  return sync_image(descriptor);
}

Result<void> preallocate(int descriptor, uint64_t offset, uint64_t length, Preallocation how) {
  const auto refuse = [&](int error) {
    return fail(error,
                fmt::format("cannot allocate {}: {}", describe_size(length), std::strerror(error)));
  };
  if (length == 0) return {};
  if (how == Preallocation::falloc) {
    const int error =
        posix_fallocate(descriptor, static_cast<off_t>(offset), static_cast<off_t>(length));
    if (error != 0) return refuse(error);
    return {};
  }
  if (how != Preallocation::full) {
    // A block device cannot be made longer, and need not if it is long enough.
    const auto present = image_bytes(descriptor);
    if (present && *present >= offset + length) return {};
    if (ftruncate(descriptor, static_cast<off_t>(offset + length)) != 0) return refuse(errno);
    return {};
  }
  const std::vector<std::byte> zeroes(std::min(length, kZeroesBytes));
  for (uint64_t done = 0; done < length; done += zeroes.size()) {
    const auto part = std::span(zeroes).first(std::min<uint64_t>(zeroes.size(), length - done));
    if (auto written = write_image(descriptor, offset + done, part); !written) return written;
  }
  return {};
}

namespace {

// The refcount blocks count themselves and their table.
NewLayout new_layout_for(const Header& header, bool with_tables) {
  NewLayout layout;
  layout.l1 = quotient_up(uint64_t{header.l1_entries} * 8, header.cluster_bytes());
  if (with_tables) {
    layout.l2 = header.l1_entries_needed();
    layout.data = quotient_up(header.size_bytes, header.cluster_bytes());
    if (header.has(kExternalData)) layout.data = 0;
  }
  for (uint64_t end = 0; end != layout.end();) {
    end = layout.end();
    layout.blocks = quotient_up(end, header.refcounts_per_block());
    layout.table = quotient_up(layout.blocks * 8, header.cluster_bytes());
  }
  return layout;
}

// All refcounts of the clusters up to the end are one.
Result<void> write_new_refcounts(int descriptor, const Header& header, const NewLayout& layout) {
  const uint64_t cluster_bytes = header.cluster_bytes();
  const uint64_t per_block = header.refcounts_per_block();
  std::vector<std::byte> table(layout.table * cluster_bytes);
  for (uint64_t i = 0; i < layout.blocks; ++i) {
    store_big_endian(std::span(table), i * 8, (1 + layout.table + i) * cluster_bytes);
    std::vector<std::byte> block(cluster_bytes);
    const uint64_t count = std::min(per_block, layout.end() - i * per_block);
    for (uint64_t each = 0; each < count; ++each) {
      set_refcount(block, header.refcount_order, each, 1);
    }
    const uint64_t offset = (1 + layout.table + i) * cluster_bytes;
    if (auto done = write_image(descriptor, offset, block); !done) return done;
  }
  return write_image(descriptor, cluster_bytes, table);
}

// The L1 table is written in any case: a block device has old bytes there. Clusters in a file of
// their own lie where the guest sees them. Subclusters are not allocated yet.
Result<void> write_new_tables(int descriptor, const Header& header, const NewLayout& layout) {
  const uint64_t cluster_bytes = header.cluster_bytes();
  const uint64_t begin = header.has(kExternalData) ? 0 : layout.data_begin();
  const uint64_t clusters = quotient_up(header.size_bytes, cluster_bytes);
  std::vector<std::byte> l1(layout.l1 * cluster_bytes);
  for (uint64_t i = 0; i < layout.l2; ++i) {
    const uint64_t offset = (layout.l2_begin() + i) * cluster_bytes;
    store_big_endian(std::span(l1), i * 8, offset | kCopied);
    std::vector<std::byte> l2(cluster_bytes);
    const uint64_t first = i * header.l2_entries();
    for (uint64_t each = 0; each < std::min(header.l2_entries(), clusters - first); ++each) {
      const uint64_t host = (begin + first + each) * cluster_bytes;
      store_big_endian(std::span(l2), each * header.l2_entry_bytes(), host | kCopied);
    }
    if (auto done = write_image(descriptor, offset, l2); !done) return done;
  }
  return write_image(descriptor, header.l1_offset, l1);
}

}  // namespace
}  // namespace sluice::qcow2
