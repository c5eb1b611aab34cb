// Compares two disks.
//
// What both say is zero is not read, and of what one of them says is zero only the other is read.
// Several reads are in flight. Control path; blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "core/error.hpp"
#include "image/open_disk.hpp"

namespace sluice::image {

enum class Difference : uint8_t {
  none,
  content,
  size,    // strict only
  status,  // strict only: data, zeroes and holes are not the same
};

struct Comparison {
  Difference difference = Difference::none;
  uint64_t offset = 0;                 // content and status: of the first difference, in bytes
  bool is_longer_with_zeroes = false;  // none: one disk goes on with zeroes where the other ends
};

// Why two disks could not be compared.
struct CompareFailure {
  bool is_read = false;  // data could not be read; otherwise the extents could not be found
  Error error;
};

struct CompareOptions {
  bool strict = false;
  // Called now and then with the bytes done, and all of them.
  std::function<void(uint64_t, uint64_t)> progress = {};
};

std::expected<Comparison, CompareFailure> compare_disks(OpenDisk& one, OpenDisk& other,
                                                        const CompareOptions& options);

}  // namespace sluice::image
