// What a disk holds that is not ours: a file system, a partition table, an image ...
#pragma once

#include <string>

#include "core/error.hpp"
#include "image/open_disk.hpp"

namespace sluice::image {

// "an ext4 file system", "a gpt partition table", "a qcow2 image" ...; empty: nothing that is
// known. Looks at the first and the last MiB. Superblocks of mirrors do not count.
Result<std::string> find_foreign_content(OpenDisk& disk);

// Whether these bytes are all zero.
Result<bool> is_zero(OpenDisk& disk, uint64_t offset, uint64_t length);

}  // namespace sluice::image
