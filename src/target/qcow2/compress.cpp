#include "target/qcow2/compress.hpp"

#include <zlib.h>

#include <memory>

#include "target/qcow2/zstd_library.hpp"

namespace sluice::qcow2 {
namespace {

// QEMU reads streams with a window of 12 bits only.
constexpr int kDeflateWindow = -12;
constexpr int kDeflateMemory = 9;
constexpr int kZstdLevel = 3;  // its default

class Deflater {
 public:
  Deflater() : ready_(begin()) {}
  ~Deflater() {
    if (ready_) deflateEnd(&stream_);
  }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  size_t deflate_all(std::span<const std::byte> cluster, std::span<std::byte> stream);

 private:
  bool begin() {
    return deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kDeflateWindow, kDeflateMemory,
                        Z_DEFAULT_STRATEGY) == Z_OK;
  }

  z_stream stream_ = {};
  bool ready_;
};

// Both are at most a cluster.
size_t Deflater::deflate_all(std::span<const std::byte> cluster, std::span<std::byte> stream) {
  if (!ready_) ready_ = begin();
  if (!ready_ || deflateReset(&stream_) != Z_OK) return 0;
  // zlib does not write to its input.
  stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(cluster.data()));
  stream_.avail_in = static_cast<uInt>(cluster.size());
  stream_.next_out = reinterpret_cast<Bytef*>(stream.data());
  stream_.avail_out = static_cast<uInt>(stream.size());
  if (deflate(&stream_, Z_FINISH) != Z_STREAM_END) return 0;
  return stream.size() - stream_.avail_out;
}

struct ZstdCompressorDeleter {
  void operator()(ZSTD_CCtx* context) const { the_zstd().free_compressor(context); }
};

size_t compress_zstd(std::span<const std::byte> cluster, std::span<std::byte> stream) {
  const Zstd& zstd = the_zstd();
  if (!zstd.fault.empty()) return 0;
  static thread_local std::unique_ptr<ZSTD_CCtx, ZstdCompressorDeleter> context;
  if (!context) context.reset(zstd.create_compressor());
  if (!context) return 0;
  const size_t length = zstd.compress(context.get(), stream.data(), stream.size(), cluster.data(),
                                      cluster.size(), kZstdLevel);
  return zstd.is_error(length) != 0 ? 0 : length;
}

}  // namespace

size_t compress(Compression type, std::span<const std::byte> cluster, std::span<std::byte> stream) {
  if (type == Compression::zstd) return compress_zstd(cluster, stream);
  static thread_local Deflater deflater;
  return deflater.deflate_all(cluster, stream);
}

}  // namespace sluice::qcow2
