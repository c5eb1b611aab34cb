// Makes an empty image.
//
// Control path; blocks. The header is written last: an image that was not finished is none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

enum class Preallocation : uint8_t {
  off,
  metadata,  // the tables map all clusters, which take no space yet
  falloc,    // and the clusters take space
  full,      // and are written, with zeroes
};

struct CreateOptions {
  uint64_t size_bytes = 0;  // of the disk
  uint32_t version = 3;
  uint32_t cluster_bits = 16;
  uint32_t refcount_order = 4;
  bool lazy_refcounts = false;
  bool extended_l2 = false;
  Compression compression = Compression::zlib;
  std::string backing_name = {};    // empty: none
  std::string backing_format = {};  // with a backing file
  std::string data_file_name = {};  // empty: none
  bool data_file_raw = false;
  Preallocation preallocation = Preallocation::off;
};

// Without the places of the tables.
Header header_for(const CreateOptions& options);

// EINVAL: a value out of its range, or options that contradict each other, by the names of
// `sluice create`.
Result<void> check_create_options(const CreateOptions& options);

// `descriptor` is open for writing, and its file is empty. `data_descriptor`: of the data file,
// which is empty too; -1 without one. EINVAL as above.
Result<void> create_image(int descriptor, int data_descriptor, const CreateOptions& options);

// Makes a file that long at least, with the range allocated as wanted. The range of a new file has
// zeroes.
Result<void> preallocate(int descriptor, uint64_t offset, uint64_t length, Preallocation how);

// A header extension that Sluice does not make itself.
struct OtherExtension {
  uint32_t type = 0;
  std::vector<std::byte> data = {};
};
struct HeaderParts {
  std::vector<OtherExtension> others = {};
  bool feature_names = true;  // if there is room for them
};

// The bytes of a header with its extensions and the name of the backing file. EINVAL: they do not
// fit the first cluster.
Result<std::vector<std::byte>> write_header(const Header& header, const HeaderParts& parts = {});

}  // namespace sluice::qcow2
