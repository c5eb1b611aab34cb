// `sluice resize` of an image file, raw or qcow2, which no other program uses.
#pragma once

#include <cstdint>
#include <string>

#include "cli/command.hpp"
#include "cli/image/image_file.hpp"
#include "target/qcow2/offline/create.hpp"

namespace sluice::cli {

// FILE and SIZE are the words of the line.
Outcome<void> resize_image(const CommandLine& line, const Streams& streams);

// Grows the disk of a qcow2 image, with its new part allocated as wanted. Closes the file, and
// opens it with all that it needs.
Outcome<void> grow_qcow2(ImageFile&& file, uint64_t now, uint64_t wanted, qcow2::Preallocation how);

}  // namespace sluice::cli
