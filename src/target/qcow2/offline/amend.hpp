// Changes what the header of an image promises: its version, the width of its refcounts, the names
// of its files.
//
// Control path; blocks. A power cut at any point leaves an image that is sound, with some of the
// changes made, and leaks at worst.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/error.hpp"
#include "target/qcow2/header.hpp"

namespace sluice::qcow2 {

// What is not set stays as it is.
struct AmendOptions {
  std::optional<uint32_t> version = {};
  std::optional<uint32_t> refcount_order = {};
  std::optional<bool> lazy_refcounts = {};
  std::optional<std::string> data_file_name = {};
  std::optional<bool> data_file_raw = {};
  std::optional<std::string> backing_name = {};  // empty: no backing file any more
  std::optional<std::string> backing_format = {};
};

// `descriptor` is open for writing. Checks the image and all options first. EUCLEAN: the image is
// damaged; EINVAL, EOPNOTSUPP: an option that this image cannot have, by the names of `sluice
// amend`.
Result<void> amend_image(int descriptor, const AmendOptions& options);

// Replaces the header and its extensions by those for `header`; keeps unknown extensions, and those
// of bitmaps if they are valid. Takes effect with the write of one sector. EOPNOTSUPP: it is too
// long for that.
Result<void> replace_header(int descriptor, const Header& header);

}  // namespace sluice::qcow2
