// The first cluster of a small image, made by hand so that a test can damage it; and the first
// cluster of an image that qemu-img has made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/big_endian.hpp"
#include "target/qcow2/header.hpp"

namespace sluice::qcow2::test {

// Places of fields in the header.
inline constexpr size_t kVersionAt = 4;
inline constexpr size_t kBackingOffsetAt = 8;
inline constexpr size_t kBackingBytesAt = 16;
inline constexpr size_t kClusterBitsAt = 20;
inline constexpr size_t kSizeAt = 24;
inline constexpr size_t kEncryptionAt = 32;
inline constexpr size_t kL1EntriesAt = 36;
inline constexpr size_t kL1OffsetAt = 40;
inline constexpr size_t kRefcountTableAt = 48;
inline constexpr size_t kRefcountClustersAt = 56;
inline constexpr size_t kSnapshotsAt = 60;
inline constexpr size_t kSnapshotsOffsetAt = 64;
inline constexpr size_t kIncompatibleAt = 72;
inline constexpr size_t kAutoclearAt = 88;
inline constexpr size_t kRefcountOrderAt = 96;
inline constexpr size_t kHeaderBytesAt = 100;
inline constexpr size_t kCompressionAt = 104;

// Header extensions.
inline constexpr uint32_t kBackingFormat = 0xe2792aca;
inline constexpr uint32_t kFeatureNames = 0x6803f857;
inline constexpr uint32_t kBitmaps = 0x23852875;
inline constexpr uint32_t kDataFile = 0x44415441;
inline constexpr uint32_t kEncryption = 0x0537be77;

inline constexpr uint64_t kCluster = 65536;  // of an ImageBytes, unless it is told otherwise

// A sound image of four clusters: the header, the refcount table, a refcount block, and the L1
// table at the end. The disk is as large as one L2 table maps.
class ImageBytes {
 public:
  explicit ImageBytes(uint32_t version = 3, uint32_t cluster_bits = 16);

  template <std::unsigned_integral Number>
  ImageBytes& put(size_t place, Number number) {
    store_big_endian(std::span(bytes_), place, number);
    return *this;
  }
  ImageBytes& put(size_t place, std::string_view text);
  // One more header extension.
  ImageBytes& extend(uint32_t type, std::string_view data);
  ImageBytes& file_bytes(uint64_t bytes);

  // Behind the extensions.
  size_t end() const { return end_; }
  uint64_t cluster_bytes() const { return bytes_.size(); }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  Result<Header> parse() const { return parse_header(bytes_, file_bytes_); }
  // The reason why it is refused, behind its errno: "EINVAL: ..."; empty: it is not.
  std::string refusal() const;

 private:
  std::vector<std::byte> bytes_;
  uint64_t file_bytes_;
  size_t end_;
};

// The header of an image that is not refused.
Header header_of(const ImageBytes& image);

// The last `bytes` bytes of a number.
std::string big_endian_text(uint64_t number, int bytes);

bool has_qemu_img();
inline constexpr std::string_view kNeedsQemuImg = "needs qemu-img (package qemu-utils)";

// The whole image file made by `qemu-img create -f qcow2 OPTIONS`, and commands after it, in which
// "$img" is the image.
std::vector<std::byte> made_by_qemu(const std::string& options, const std::string& commands = "");

}  // namespace sluice::qcow2::test
