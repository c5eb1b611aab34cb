// libzstd, loaded when an image needs it.
#pragma once

#include <zstd.h>

#include <string>

#include "core/error.hpp"

namespace sluice::qcow2 {

struct Zstd {
  decltype(&ZSTD_createDCtx) create_context = nullptr;
  decltype(&ZSTD_freeDCtx) free_context = nullptr;
  decltype(&ZSTD_findFrameCompressedSize) frame_bytes = nullptr;
  decltype(&ZSTD_decompressDCtx) decompress = nullptr;
  decltype(&ZSTD_createCCtx) create_compressor = nullptr;
  decltype(&ZSTD_freeCCtx) free_compressor = nullptr;
  decltype(&ZSTD_compressCCtx) compress = nullptr;
  decltype(&ZSTD_isError) is_error = nullptr;
  std::string fault = {};  // empty: loaded
};

// Loads the library at the first call, which opens files. Any thread.
const Zstd& the_zstd();

// ENOENT: libzstd is not installed.
Result<void> load_zstd();

}  // namespace sluice::qcow2
