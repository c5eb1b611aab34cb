// Moves data between an image and its backing file: `sluice commit` and `sluice rebase`.
//
// Control path; blocks. Whatever a call was doing when it failed, the contents that the chain shows
// are the same as before.
#pragma once

#include <cstdint>
#include <functional>

#include "core/error.hpp"
#include "image/open_disk.hpp"

namespace sluice::image {

// Called now and then with the bytes done, and all of them.
using ChainProgress = std::function<void(uint64_t, uint64_t)>;

// Writes what `overlay` has of its own to `base`, and makes it durable there. `overlay` was opened
// without its backing file (OpenDisk::Options). A base that is shorter grows.
Result<void> commit_data(OpenDisk& overlay, OpenDisk& base, const ChainProgress& progress);

// Writes to `disk` what is not its own, wherever `next` has something else, and makes it durable:
// afterwards `disk` shows the same on `next` as on its present backing file. Null: on none.
Result<void> keep_data(OpenDisk& disk, OpenDisk* next, const ChainProgress& progress);

}  // namespace sluice::image
