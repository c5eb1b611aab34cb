#include "target/qcow2/decompress.hpp"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <memory>

#include "target/qcow2/zstd_library.hpp"

namespace sluice::qcow2 {
namespace {

// QEMU's writer uses a window of 12 bits. zlib copies from its output and not from the window, so
// streams that were made with a larger one are read as well.
constexpr int kRawDeflateWindow = -12;

const Status kDamagedStream = Status::from_errno(EIO);
const Status kNoMemoryForStream = Status::from_errno(ENOMEM);

class Inflater {
 public:
  Inflater() : ready_(inflateInit2(&stream_, kRawDeflateWindow) == Z_OK) {}
  ~Inflater() {
    if (ready_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  Status inflate_all(std::span<const std::byte> stream, std::span<std::byte> cluster);

 private:
  z_stream stream_ = {};
  bool ready_;
};

Status Inflater::inflate_all(std::span<const std::byte> stream, std::span<std::byte> cluster) {
  if (!ready_) {
    ready_ = inflateInit2(&stream_, kRawDeflateWindow) == Z_OK;
    if (!ready_) return kNoMemoryForStream;
  }
  if (inflateReset(&stream_) != Z_OK) return kDamagedStream;
  // zlib does not write to its input.
  stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(stream.data()));
  stream_.avail_in = static_cast<uInt>(std::min<size_t>(stream.size(), UINT_MAX));
  stream_.next_out = reinterpret_cast<Bytef*>(cluster.data());
  stream_.avail_out = static_cast<uInt>(std::min<size_t>(cluster.size(), UINT_MAX));
  const int result = inflate(&stream_, Z_FINISH);
  if (result == Z_MEM_ERROR) return kNoMemoryForStream;
  // Z_BUF_ERROR with a full cluster: the stream goes on, which does not matter.
  const bool sound = result == Z_STREAM_END || result == Z_BUF_ERROR;
  return sound && stream_.avail_out == 0 ? kOk : kDamagedStream;
}

struct ZstdContextDeleter {
  void operator()(ZSTD_DCtx* context) const { the_zstd().free_context(context); }
};

// Whether a frame of the format begins here. Without this check, libzstd would also read the
// formats that preceded it.
bool is_zstd_frame(std::span<const std::byte> stream) {
  if (stream.size() < 4) return false;
  uint32_t magic = 0;
  for (size_t i = 4; i-- > 0;) magic = magic << 8 | std::to_integer<uint32_t>(stream[i]);
  return magic == ZSTD_MAGICNUMBER ||
         (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

// Frame by frame into the cluster, which needs no window, whatever size the stream asks for.
Status decompress_zstd(std::span<const std::byte> stream, std::span<std::byte> cluster) {
  const Zstd& zstd = the_zstd();
  if (!zstd.fault.empty()) return Status::from_errno(EOPNOTSUPP);
  static thread_local std::unique_ptr<ZSTD_DCtx, ZstdContextDeleter> context;
  if (!context) context.reset(zstd.create_context());
  if (!context) return kNoMemoryForStream;
  while (!cluster.empty()) {
    if (!is_zstd_frame(stream)) return kDamagedStream;
    const size_t frame = zstd.frame_bytes(stream.data(), stream.size());
    if (zstd.is_error(frame) != 0 || frame == 0) return kDamagedStream;
    const size_t filled =
        zstd.decompress(context.get(), cluster.data(), cluster.size(), stream.data(), frame);
    if (zstd.is_error(filled) != 0) return kDamagedStream;
    cluster = cluster.subspan(filled);
    stream = stream.subspan(frame);
  }
  return kOk;
}

}  // namespace

Result<void> load_decompressor(Compression type) {
  return type == Compression::zstd ? load_zstd() : Result<void>();
}

Status decompress(Compression type, std::span<const std::byte> stream,
                  std::span<std::byte> cluster) {
  if (type == Compression::zstd) return decompress_zstd(stream, cluster);
  static thread_local Inflater inflater;
  return inflater.inflate_all(stream, cluster);
}

}  // namespace sluice::qcow2
