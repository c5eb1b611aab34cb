#include "target/qcow2/offline/image_io.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/big_endian.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kImageSector = 512;
constexpr uint64_t kSnapshotTableGuess = uint64_t{64} << 10;

std::unexpected<Error> cannot_access(std::string_view what, uint64_t offset, int error) {
  return fail(error, fmt::format("cannot {} the image at offset {}: {}", what, offset,
                                 std::strerror(error)));
}

}  // namespace

Result<uint64_t> image_bytes(int descriptor) {
  const off_t end = lseek(descriptor, 0, SEEK_END);
  if (end < 0) return fail(errno, fmt::format("cannot find its size: {}", std::strerror(errno)));
  return (static_cast<uint64_t>(end) + kImageSector - 1) / kImageSector * kImageSector;
}

Result<void> read_image(int descriptor, uint64_t offset, std::span<std::byte> bytes) {
  while (!bytes.empty() && offset <= INT64_MAX) {
    const size_t length = std::min<uint64_t>(bytes.size(), INT64_MAX - offset);
    const ssize_t got = pread(descriptor, bytes.data(), length, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot_access("read", offset, errno);
    if (got == 0) break;
    bytes = bytes.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  std::ranges::fill(bytes, std::byte{0});
  return {};
}

Result<std::vector<std::byte>> read_image(int descriptor, uint64_t offset, uint64_t length) {
  std::vector<std::byte> bytes(length);
  if (auto done = read_image(descriptor, offset, bytes); !done) {
    return std::unexpected(done.error());
  }
  return bytes;
}

Result<void> write_image(int descriptor, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return cannot_access("write", offset, put < 0 ? errno : ENOSPC);
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return {};
}

Result<void> sync_image(int descriptor) {
  if (fdatasync(descriptor) == 0) return {};
  return fail(errno, fmt::format("cannot make the image durable: {}", std::strerror(errno)));
}

Result<Header> read_any_header(int descriptor) {
  const auto size = image_bytes(descriptor);
  if (!size) return std::unexpected(size.error());
  const auto start = read_image(descriptor, 0, std::min(*size, kImageSector));
  if (!start) return std::unexpected(start.error());
  const auto needed = header_bytes_needed(*start);
  if (!needed) return std::unexpected(needed.error());
  const auto bytes = read_image(descriptor, 0, std::min(*size, *needed));
  if (!bytes) return std::unexpected(bytes.error());
  return parse_header(*bytes, *size);
}

Result<Header> read_image_header(int descriptor) {
  auto header = read_any_header(descriptor);
  if (!header || !header->encryption) return header;
  return fail(ENOTSUP,
              "the image is encrypted, which this command does not support: qemu-img does");
}

// The table does not say how long it is.
Result<SnapshotTable> read_snapshots(int descriptor, const Header& header, uint64_t file_bytes) {
  if (header.snapshots == 0) return SnapshotTable{};
  const uint64_t offset = std::min(header.snapshots_offset, file_bytes);
  const uint64_t most = std::min(kSnapshotTableBytesMax, file_bytes - offset);
  for (uint64_t length = kSnapshotTableGuess;; length *= 32) {
    const auto bytes = read_image(descriptor, offset, std::min(length, most));
    if (!bytes) return std::unexpected(bytes.error());
    auto table = parse_snapshots(*bytes, header, file_bytes);
    if (table || length >= most) return table;
  }
}

bool has_valid_bitmaps(const Header& header) {
  return header.bitmaps && header.bitmaps->count > 0 && (header.autoclear & kBitmapsValid) != 0;
}

Result<std::vector<BitmapEntry>> read_bitmaps(int descriptor, const Header& header,
                                              uint64_t file_bytes) {
  if (!has_valid_bitmaps(header)) return std::vector<BitmapEntry>{};
  const uint64_t length = header.bitmaps->directory_bytes;
  if (length > std::min(kBitmapDirectoryBytesMax, file_bytes)) {
    return fail(EINVAL,
                fmt::format("the bitmap directory has {} bytes, which is too long", length));
  }
  const auto bytes = read_image(descriptor, header.bitmaps->directory_offset, length);
  if (!bytes) return std::unexpected(bytes.error());
  return parse_bitmaps(*bytes, header, file_bytes);
}

Result<bool> is_qcow2(int descriptor) {
  std::array<std::byte, 8> start{};
  if (auto done = read_image(descriptor, 0, start); !done) return std::unexpected(done.error());
  const auto version = load_big_endian<uint32_t>(start, 4);
  return load_big_endian<uint32_t>(start, 0) == kMagic && (version == 2 || version == 3);
}

}  // namespace sluice::qcow2
