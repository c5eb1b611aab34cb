#include "target/qcow2/zstd_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cerrno>
#include <type_traits>

namespace sluice::qcow2 {
namespace {

// Loaded like OpenSSL (src/tls/openssl.hpp): servers keep all of their libraries in memory, and
// this one takes 0.75 MiB.
constexpr const char* kZstdLibrary = "libzstd.so.1";

Zstd open_zstd() {
  Zstd zstd;
  void* const library = dlopen(kZstdLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    zstd.fault = dlerror();
    return zstd;
  }
  const auto find = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    if (function == nullptr) zstd.fault = fmt::format("{} is not in it", name);
  };
  find("ZSTD_createDCtx", zstd.create_context);
  find("ZSTD_freeDCtx", zstd.free_context);
  find("ZSTD_findFrameCompressedSize", zstd.frame_bytes);
  find("ZSTD_decompressDCtx", zstd.decompress);
  find("ZSTD_createCCtx", zstd.create_compressor);
  find("ZSTD_freeCCtx", zstd.free_compressor);
  find("ZSTD_compressCCtx", zstd.compress);
  find("ZSTD_isError", zstd.is_error);
  return zstd;
}

}  // namespace

const Zstd& the_zstd() {
  static const Zstd zstd = open_zstd();
  return zstd;
}

Result<void> load_zstd() {
  if (the_zstd().fault.empty()) return {};
  return fail(ENOENT, fmt::format("clusters compressed with zstd need libzstd (package libzstd1): "
                                  "{}",
                                  the_zstd().fault));
}

}  // namespace sluice::qcow2
