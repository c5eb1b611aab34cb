// overlay: a disk that is only read, below a temporary image that takes all writes.
//
// The image is a qcow2 file without a name: it ends with its last server, however that ends, and is
// handed over as any open file is. Nobody can open it again. Except for that this is target qcow2,
// with a backing file that may be any target.
#include "target/qcow2/overlay.hpp"

#include <fmt/format.h>

#include <utility>

#include "target/file/backing_file.hpp"
#include "target/file/file_target.hpp"
#include "target/file/temporary_file.hpp"
#include "target/open.hpp"
#include "target/qcow2/chain.hpp"
#include "target/qcow2/offline/create.hpp"
#include "target/qcow2/qcow2_target.hpp"
#include "target/qcow2/read_header.hpp"

namespace sluice {
namespace qcow2 {
namespace {

constexpr const char* kOverlayName = "the temporary image";

struct OverlayFile {
  BackingFile file;
  std::string name;
};

// Empty, for the disk below. With subclusters a write to a part of a cluster copies little from
// there, and usually nothing. Its blocks are no larger: the device has those of the disk.
Result<OverlayFile> create_overlay(const Geometry& below) {
  auto made = make_temporary_file();
  if (!made) return std::unexpected(made.error());
  OverlayFile overlay{.file = {}, .name = fmt::format("{} in {}", kOverlayName, made->directory)};
  const auto created = create_image(made->descriptor.number(), -1,
                                    {.size_bytes = below.size_bytes, .extended_l2 = true});
  if (!created) {
    return fail(created.error().error,
                fmt::format("cannot make {}: {}", overlay.name, created.error().text));
  }
  auto opened = BackingFile::open_nameless(made->descriptor.number(), overlay.name,
                                           below.logical_block_bytes);
  if (!opened) return std::unexpected(opened.error());
  overlay.file = std::move(*opened);
  return overlay;
}

Result<OverlayFile> inherit_overlay(OpenContext& context) {
  auto adopted = BackingFile::adopt(context.inherit(), kOverlayName, {});
  if (!adopted) return std::unexpected(adopted.error());
  return OverlayFile{.file = std::move(*adopted), .name = kOverlayName};
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): all open functions are of one type
Result<std::unique_ptr<Target>> open_overlay(const Spec&, Target::Children&& children,
                                             OpenContext& context) {
  auto overlay =
      context.inherits() ? inherit_overlay(context) : create_overlay(children.front()->geometry());
  if (!overlay) return std::unexpected(overlay.error());
  const bool writable = !context.read_only();
  Geometry geometry = overlay->file.geometry;
  geometry.read_only = !writable;
  // With direct I/O a write has failed or is on the disk, and nothing outlives the server: there is
  // nothing to flush. Through the page cache a flush finds out what could not be written.
  geometry.volatile_cache = writable && !overlay->file.direct;
  const int descriptor = overlay->file.descriptor.release();
  auto storage =
      std::make_unique<FileTarget>(FileTarget::Place{.name = overlay->name,
                                                     .file = context.add_file(descriptor),
                                                     .descriptor = descriptor,
                                                     .whole = true,
                                                     .inherited = context.inherits(),
                                                     .swap_risk = overlay->file.swap_risk},
                                   geometry);
  storage->set_name("file");
  const auto header = read_header(*storage, overlay->name, context);
  if (!header) return std::unexpected(header.error());
  return std::make_unique<Qcow2Target>(
      Image::Options{.name = overlay->name, .writable = writable, .cache_bytes = kCacheBytes},
      *header,
      Qcow2Target::Parts{.storage = std::move(storage),
                         .data = {},
                         .backing = std::move(children.front()),
                         .names_backing = true});
}

}  // namespace
}  // namespace qcow2

Spec overlay_spec(Spec below) {
  const TargetType* const type = find_target_type(below.target);
  if (type != nullptr && type->holds_disks) {
    for (Spec& disk : below.children) disk = overlay_spec(std::move(disk));
    return below;
  }
  Spec overlay{.target = std::string(kOverlayTarget.syntax.name)};
  overlay.children.push_back(std::move(below));
  return overlay;
}

constinit const TargetType kOverlayTarget = {
    .syntax =
        {
            .name = "overlay",
            .summary = "a disk that is only read, with writes to a temporary file",
            .children_minimum = 1,
            .children_maximum = 1,
        },
    .open = qcow2::open_overlay,
    .only_reads = true,
};

}  // namespace sluice
