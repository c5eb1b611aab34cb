#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "core/big_endian.hpp"
#include "core/step.hpp"
#include "target/qcow2/header_extensions.hpp"
#include "target/qcow2/offline/amend.hpp"
#include "target/qcow2/offline/create.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::qcow2 {
namespace {

constexpr size_t kAtomicBytes = 512;  // a disk writes a sector as a whole
constexpr uint32_t kBackingFormatKind = 0xe2792aca;
constexpr uint32_t kFeatureNamesKind = 0x6803f857;
constexpr uint32_t kBitmapsKind = 0x23852875;
constexpr uint32_t kDataFileKind = 0x44415441;

// The header that is there.
struct OldHeader {
  std::vector<std::byte> bytes = {};  // the first cluster
  size_t end = 0;                     // of what counts in it
  std::vector<OtherExtension> others = {};
};

Result<OldHeader> read_old_header(int descriptor, const Header& wanted);
bool fits_safely(const OldHeader& old, std::span<const std::byte> bytes);
Result<void> put_header(int descriptor, std::span<const std::byte> bytes);

}  // namespace

Result<void> replace_header(int descriptor, const Header& header) {
  const auto old = read_old_header(descriptor, header);
  if (!old) return std::unexpected(old.error());
  for (const bool with_names : {true, false}) {
    const auto bytes = write_header(header, {.others = old->others, .feature_names = with_names});
    if (!bytes) return std::unexpected(bytes.error());
    if (fits_safely(*old, *bytes)) return put_header(descriptor, *bytes);
  }
  return fail(EOPNOTSUPP,
              "its header is too long to be replaced safely: make a new image with sluice"
              " convert, or give shorter names");
}

namespace {

Result<OldHeader> read_old_header(int descriptor, const Header& wanted) {
  const auto now = read_image_header(descriptor);
  if (!now) return std::unexpected(now.error());
  auto bytes = read_image(descriptor, 0, now->cluster_bytes());
  if (!bytes) return std::unexpected(bytes.error());
  OldHeader old{.bytes = std::move(*bytes)};
  const auto name = load_big_endian<uint64_t>(old.bytes, 8);
  const auto name_bytes = load_big_endian<uint32_t>(old.bytes, 16);
  const size_t begin = now->version < 3 ? 72 : now->header_bytes;
  const size_t area_end = name != 0 ? name : old.bytes.size();
  ExtensionArea area(std::span(old.bytes).first(area_end), begin);
  old.end = begin + 8;
  for (auto each = area.next(); each && each->type != 0; each = area.next()) {
    old.end += 8 + (each->data.size() + 7) / 8 * 8;
    const bool is_named = each->type == kBackingFormatKind || each->type == kDataFileKind ||
                          each->type == kFeatureNamesKind;
    const bool is_void = each->type == kBitmapsKind &&
                         (wanted.version < 3 || (wanted.autoclear & kBitmapsValid) == 0);
    if (is_named || is_void) continue;
    old.others.push_back({.type = each->type, .data = {each->data.begin(), each->data.end()}});
  }
  if (name != 0) old.end = std::max<size_t>(old.end, name + name_bytes);
  return old;
}

// Behind the first sector nothing changes that the old header has.
bool fits_safely(const OldHeader& old, std::span<const std::byte> bytes) {
  if (bytes.size() <= kAtomicBytes || old.end <= kAtomicBytes) return true;
  return std::ranges::equal(
      bytes.subspan(kAtomicBytes),
      std::span(old.bytes).subspan(kAtomicBytes, bytes.size() - kAtomicBytes));
}

Result<void> put_header(int descriptor, std::span<const std::byte> bytes) {
  const size_t first = std::min(bytes.size(), kAtomicBytes);
  if (auto done = write_image(descriptor, first, bytes.subspan(first)); !done) return done;
  if (auto done = sync_image(descriptor); !done) return done;
  step("amend: header begun");
  if (auto done = write_image(descriptor, 0, bytes.first(first)); !done) return done;
  return sync_image(descriptor);
}

}  // namespace
}  // namespace sluice::qcow2
