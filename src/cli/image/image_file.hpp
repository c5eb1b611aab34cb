// ImageFile: an image that a command works on by itself, without a device.
#pragma once

#include <cstdint>
#include <string>

#include "cli/failure.hpp"
#include "core/descriptor.hpp"

namespace sluice::cli {

enum class ImageAccess : uint8_t {
  unlocked,  // reads whatever another program is writing at the time
  read,      // nobody writes meanwhile
  write,     // nobody else uses it
};

struct ImageFile {
  Descriptor descriptor = {};
  std::string path = {};
  bool is_block_device = false;
  uint64_t size_bytes = 0;   // of the file
  uint64_t space_bytes = 0;  // that it takes on its disk
  std::string format = {};   // "qcow2", "raw", or another by its name
};

// Opens a regular file or a block device, locks it as QEMU does, and recognises its format. Opens
// nothing else, and changes nothing.
Outcome<ImageFile> open_image(const std::string& path, ImageAccess access);

// For a file that is about to get new contents: checks that nothing uses it, and locks it.
Outcome<void> claim_image(const ImageFile& file);

}  // namespace sluice::cli
