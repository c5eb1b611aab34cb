// loop: serves a regular file or a block device, or a part of it, bypassing the page cache.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>

#include "core/log.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/file/backing_file.hpp"
#include "target/file/file_target.hpp"
#include "target/file/fine_blocks.hpp"
#include "target/file/image_kind.hpp"
#include "target/open.hpp"

namespace sluice {
namespace {

constexpr OptionSyntax kOptions[] = {
    {.name = "file",
     .kind = OptionKind::path,
     .required = true,
     .help = "a regular file or block device"},
    {.name = "offset",
     .kind = OptionKind::size,
     .fallback = "0",
     .help = "offset of the device in the file"},
    {.name = "size",
     .kind = OptionKind::size,
     .minimum = 512,
     .help = "size of the device; without it, the rest of the file"},
    {.name = "block",
     .kind = OptionKind::size,
     .minimum = 512,
     .maximum = 4096,
     .help = "block size, from 512 to 4096 bytes; without it, that of the file"},
    {.name = "buffered_io",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "use the page cache"},
    {.name = "read_only",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "refuse writes, and open the file for reading only"},
};

// The served part of the file, and the block size.
struct Cut {
  uint64_t begin_bytes = 0;
  uint32_t grain_bytes = 0;  // see FileTarget::Place
  Geometry geometry;
};
// An option in bytes, with its valid range for this file.
struct Bytes {
  const char* option;
  uint64_t value;
  uint64_t lowest;
  uint64_t highest;
};

uint32_t grain_of(const BackingFile& file, const BackingFile::Options& options);
Result<Cut> cut_to_range(const Spec& spec, const std::string& path, const BackingFile& file,
                         uint32_t grain, bool is_image);
Result<void> add_slice(const BackingFile& file, const Cut& cut, bool to_the_end,
                       const std::string& path);
std::unique_ptr<Target> serve(const Cut& cut, FileTarget::Place place, const Geometry& whole);
Result<void> check_block_multiple(const Bytes& bytes, const std::string& path,
                                  uint32_t block_bytes);

// NOLINTNEXTLINE(performance-unnecessary-value-param): all open functions are of one type
Result<std::unique_ptr<Target>> open_loop(const Spec& spec, Target::Children&&,
                                          OpenContext& context) {
  const std::string path = spec.text("file");
  const BackingFile::Options options{.read_only = spec.flag("read_only") || context.read_only(),
                                     .buffered_io = spec.flag("buffered_io"),
                                     .force = context.force(),
                                     .unlocked = context.unlocked(),
                                     .lock_later = context.locks_later(),
                                     .to_the_byte = context.to_the_byte() && !spec.has("size"),
                                     .stack_files = context.stack_files().get()};
  auto backing = context.inherits() ? BackingFile::adopt(context.inherit(), path, options)
                                    : BackingFile::open(path, options);
  if (!backing) return std::unexpected(backing.error());
  auto cut = cut_to_range(spec, path, *backing, grain_of(*backing, options), context.opens_image());
  if (!cut) return std::unexpected(cut.error());
  if (auto added = add_slice(*backing, *cut, !spec.has("size"), path); !added) {
    return std::unexpected(added.error());
  }
  // Logged by the first server only, not after a handover.
  if (cut->begin_bytes == 0 && !context.inherits() && !context.opens_image()) {
    tell_what_is_in(*backing, path, cut->geometry);
  }
  const int descriptor = backing->descriptor.release();
  return serve(*cut,
               {.name = path,
                .path = path,
                .file = context.add_file(descriptor),
                .descriptor = descriptor,
                .begin_bytes = cut->begin_bytes,
                .block_device = backing->block_device,
                .whole = !spec.has("size"),
                .grain_bytes = cut->grain_bytes,
                .inherited = context.inherits(),
                .swap_risk = backing->swap_risk,
                .slices = std::move(backing->slices)},
               backing->geometry);
}

// What the end of the file may be a multiple of, if it need not be the end of a block; else 0.
uint32_t grain_of(const BackingFile& file, const BackingFile::Options& options) {
  if (!options.to_the_byte || file.block_device) return 0;
  return file.direct ? file.geometry.logical_block_bytes : 1;
}

// The part of the file that options `offset`, `size` and `block` select.
Result<Cut> cut_to_range(const Spec& spec, const std::string& path, const BackingFile& file,
                         uint32_t grain, bool is_image) {
  const Geometry& whole = file.geometry;
  const uint32_t own_block = whole.logical_block_bytes;
  const auto block = static_cast<uint32_t>(spec.number("block", own_block));
  if (!std::has_single_bit(block)) {
    return fail(EINVAL, fmt::format("block {} is no power of two: give 512, 1k, 2k or 4k", block));
  }
  const uint64_t begin = spec.number("offset", 0);
  const Bytes offset{.option = "offset",
                     .value = begin,
                     .lowest = 0,
                     .highest = whole.size_bytes - std::min<uint64_t>(whole.size_bytes, block)};
  if (auto checked = check_block_multiple(offset, path, std::min(block, own_block)); !checked) {
    return std::unexpected(checked.error());
  }
  if (block < own_block) grain = 0;
  const uint32_t least = grain != 0 ? grain : std::max(block, own_block);
  if (whole.size_bytes < least) {
    const std::string advice =
        file.block_device
            ? "is a medium in the drive?"
            : fmt::format("give it a size with truncate -s SIZE {}", shell_word(path));
    if (grain != 0) return fail(EINVAL, fmt::format("{} is empty: {}", shown(path), advice));
    return fail(EINVAL, fmt::format("{} has {} bytes, less than one block of {}: {}", shown(path),
                                    whole.size_bytes, least, advice));
  }
  if (begin > whole.size_bytes - least) {
    return fail(EINVAL, fmt::format("offset {} leaves nothing of {}, which has {} bytes: give a"
                                    " smaller one",
                                    begin, shown(path), whole.size_bytes));
  }
  // Only whole blocks of the file can be read and written, whatever the served block size.
  const uint64_t left = whole.size_bytes - begin;
  const uint64_t usable =
      block < own_block ? whole.size_bytes / own_block * own_block - begin : left;
  Geometry part = whole;
  part.logical_block_bytes = block;
  part.size_bytes = spec.number("size", usable / block * block);
  const Bytes size{.option = "size", .value = part.size_bytes, .lowest = block, .highest = usable};
  if (auto checked = check_block_multiple(size, path, block); !checked) {
    return std::unexpected(checked.error());
  }
  if (part.size_bytes > usable) {
    return fail(EINVAL, fmt::format("size {} does not fit into {}, which has {} bytes from offset"
                                    " {} on: give a smaller one, or make the file larger",
                                    part.size_bytes, shown(path), usable, begin));
  }
  if (grain != 0) part.exact_bytes = left / grain * grain;
  if (!spec.has("size") && left != part.data_bytes() && !is_image) {
    log().warn("{}: its last {} bytes are left out, its size is no multiple of {}", shown(path),
               left - part.data_bytes(), least);
  }
  // Alignment carries over to the file only up to that of the part's offset.
  part.physical_block_bytes =
      std::max(block, static_cast<uint32_t>(std::gcd(uint64_t{whole.physical_block_bytes}, begin)));
  return Cut{.begin_bytes = begin, .grain_bytes = grain, .geometry = part};
}

// In whole blocks of the file: smaller ones are written with what is beside them.
Result<void> add_slice(const BackingFile& file, const Cut& cut, bool to_the_end,
                       const std::string& path) {
  if (file.slices == nullptr) return {};
  const uint64_t block = file.geometry.logical_block_bytes;
  const uint64_t end = cut.begin_bytes + cut.geometry.size_bytes;
  const uint64_t block_end = (end + block - 1) / block * block;
  return file.slices->add({.descriptor = file.descriptor.number(),
                           .begin_bytes = cut.begin_bytes / block * block,
                           .end_bytes = to_the_end ? FileSlices::kToTheEnd : block_end,
                           .written = !file.geometry.read_only,
                           .direct = file.direct,
                           .claims = file.claims},
                          path);
}

// Blocks smaller than those of the file need read-modify-write of the file's blocks.
std::unique_ptr<Target> serve(const Cut& cut, FileTarget::Place place, const Geometry& whole) {
  const uint64_t own_block = whole.logical_block_bytes;
  if (cut.geometry.logical_block_bytes >= own_block) {
    return std::make_unique<FileTarget>(std::move(place), cut.geometry);
  }
  const uint64_t lead = cut.begin_bytes % own_block;
  const uint64_t end = lead + cut.geometry.size_bytes;
  place.begin_bytes -= lead;
  Geometry coarse = whole;
  coarse.size_bytes = (end + own_block - 1) / own_block * own_block;
  coarse.physical_block_bytes =
      static_cast<uint32_t>(std::gcd(uint64_t{whole.physical_block_bytes}, place.begin_bytes));
  const bool to_the_end = place.whole;
  auto file = std::make_unique<FileTarget>(std::move(place), coarse);
  file->set_name("file");
  return std::make_unique<FineBlocks>(
      std::move(file), FineBlocks::Shape{.block_bytes = cut.geometry.logical_block_bytes,
                                         .begin_bytes = lead,
                                         .size_bytes = cut.geometry.size_bytes,
                                         .whole = to_the_end});
}

Result<void> check_block_multiple(const Bytes& bytes, const std::string& path,
                                  uint32_t block_bytes) {
  if (bytes.value % block_bytes == 0) return {};
  return fail(EINVAL,
              fmt::format("{} {} is no multiple of {} bytes, the block of {}: {}", bytes.option,
                          bytes.value, block_bytes, shown(path),
                          advise_multiple(bytes.value, block_bytes, bytes.lowest, bytes.highest)));
}

}  // namespace

constinit const TargetType kLoopTarget = {
    .syntax =
        {
            .name = "loop",
            .summary = "a file or block device",
            .leaf_option = "file",
            .prefix = "file",
            .options = kOptions,
        },
    .open = open_loop,
};

}  // namespace sluice
