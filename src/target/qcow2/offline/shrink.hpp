// Makes the disk of an image smaller: what lies behind its new end is lost.
//
// Control path; blocks. A power cut at any point leaves the old size or the new one, and leaks at
// worst; what was behind the new end may be gone in either case.
#pragma once

#include <cstdint>

#include "core/error.hpp"

namespace sluice::qcow2 {

// `descriptor` is open for writing; `size_bytes` is a multiple of 512, and less than the disk has.
// Checks the image first. EUCLEAN: it is damaged; EOPNOTSUPP: it has something that does not
// follow, by name. The file gets shorter where nothing at its end is used any more.
Result<void> shrink_image(int descriptor, uint64_t size_bytes);

// Whether the size of the disk may change: snapshots must record their own, and valid bitmaps would
// no longer fit. EOPNOTSUPP, with the reason.
struct Header;
Result<void> check_may_resize(const Header& header);

}  // namespace sluice::qcow2
