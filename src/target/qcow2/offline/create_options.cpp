#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "spec/size.hpp"
#include "target/qcow2/offline/create.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint32_t kClusterBitsMinExtended = 14;
constexpr uint64_t kSectorBytes = 512;

// A condition that the options must not meet, and why.
struct Contradiction {
  bool is_there;
  std::string_view why;
};

std::optional<std::string_view> contradiction(const CreateOptions& options) {
  const bool is_old = options.version < 3;
  const bool has_backing = !options.backing_name.empty();
  const bool has_data_file = !options.data_file_name.empty();
  const bool is_preallocated = options.preallocation != Preallocation::off;
  const auto list = std::to_array<Contradiction>({
      {is_old && options.refcount_order != 4, "compat=0.10 has refcount_bits=16"},
      {is_old && options.lazy_refcounts, "lazy_refcounts needs compat=1.1"},
      {is_old && options.extended_l2, "extended_l2 needs compat=1.1"},
      {is_old && options.compression != Compression::zlib,
       "compression_type=zstd needs compat=1.1"},
      {is_old && has_data_file, "data_file needs compat=1.1"},
      {options.data_file_raw && !has_data_file, "data_file_raw needs data_file"},
      {options.data_file_raw && has_backing, "data_file_raw and a backing file exclude each other"},
      {is_preallocated && has_backing && !options.extended_l2,
       "preallocation with a backing file needs extended_l2: it would hide the backing file"},
      {options.extended_l2 && options.cluster_bits < kClusterBitsMinExtended,
       "extended_l2 needs a cluster_size of 16k or more"},
  });
  for (const auto& [is_there, why] : list) {
    if (is_there) return why;
  }
  return std::nullopt;
}

}  // namespace

Header header_for(const CreateOptions& options) {
  Header header;
  header.version = options.version;
  header.cluster_bits = options.cluster_bits;
  header.size_bytes = options.size_bytes;
  header.refcount_order = options.refcount_order;
  header.compression = options.compression;
  if (options.compression != Compression::zlib) header.incompatible |= kCompressionType;
  if (options.extended_l2) header.incompatible |= kExtendedL2;
  if (!options.data_file_name.empty()) header.incompatible |= kExternalData;
  if (options.lazy_refcounts) header.compatible |= kLazyRefcounts;
  if (options.data_file_raw) header.autoclear |= kRawExternalData;
  header.backing_name = options.backing_name;
  header.backing_format = options.backing_format;
  header.data_file_name = options.data_file_name;
  header.l1_entries = static_cast<uint32_t>(std::max<uint64_t>(1, header.l1_entries_needed()));
  return header;
}

Result<void> check_create_options(const CreateOptions& options) {
  if (options.cluster_bits < kClusterBitsMin || options.cluster_bits > kClusterBitsMax) {
    return fail(EINVAL, fmt::format("cluster_size is a power of two from {} to {}",
                                    format_size(1U << kClusterBitsMin),
                                    format_size(1U << kClusterBitsMax)));
  }
  if (options.refcount_order > 6) {
    return fail(EINVAL, "refcount_bits is a power of two from 1 to 64");
  }
  if (const auto why = contradiction(options)) return fail(EINVAL, std::string(*why));
  if (options.backing_name.size() > kBackingNameMax) {
    return fail(EINVAL, fmt::format("the name of the backing file has {} bytes, {} are possible",
                                    options.backing_name.size(), kBackingNameMax));
  }
  if (options.size_bytes % kSectorBytes != 0) {
    return fail(EINVAL, fmt::format("size {} is no multiple of 512: {}", options.size_bytes,
                                    advise_multiple(options.size_bytes, kSectorBytes, 0)));
  }
  const uint64_t entry_bytes = options.extended_l2 ? 16 : 8;
  const uint64_t cluster_bytes = uint64_t{1} << options.cluster_bits;
  const uint64_t most = kL1BytesMax / 8 * (cluster_bytes / entry_bytes);  // clusters
  if (options.size_bytes / cluster_bytes >= most) {
    return fail(EINVAL, fmt::format("size {} is too large for clusters of {}: give a larger "
                                    "cluster_size",
                                    format_size(options.size_bytes), format_size(cluster_bytes)));
  }
  if (const auto bytes = write_header(header_for(options)); !bytes) {
    return std::unexpected(bytes.error());
  }
  return {};
}

}  // namespace sluice::qcow2
