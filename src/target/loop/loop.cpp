// loop: a regular file or a block device, or a part of it, served past the page cache.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <numeric>

#include "spec/shown.hpp"
#include "target/loop/backing_file.hpp"
#include "target/loop/file_target.hpp"
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
     .help = "where in the file the device begins"},
    {.name = "size",
     .kind = OptionKind::size,
     .minimum = 512,
     .help = "how much of the file it is; without it, all from the offset on"},
    {.name = "buffered_io",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "go through the page cache"},
    {.name = "read_only",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "refuse writes, and open the file for reading only"},
};

Result<Geometry> cut_to_range(const Spec& spec, const std::string& path, const BackingFile& file);
Result<void> check_block_multiple(const char* option, uint64_t value, const std::string& path,
                                  uint32_t block_bytes);

// NOLINTNEXTLINE(performance-unnecessary-value-param): all open functions are of one type
Result<std::unique_ptr<Target>> open(const Spec& spec, Target::Children, OpenContext& context) {
  const std::string path = spec.text("file");
  auto backing =
      BackingFile::open(path, {.read_only = spec.flag("read_only") || context.read_only(),
                               .buffered_io = spec.flag("buffered_io")});
  if (!backing) return std::unexpected(backing.error());
  auto geometry = cut_to_range(spec, path, *backing);
  if (!geometry) return std::unexpected(geometry.error());
  const int descriptor = backing->descriptor.release();
  return std::make_unique<FileTarget>(FileTarget::Place{.name = path,
                                                        .path = path,
                                                        .file = context.add_file(descriptor),
                                                        .descriptor = descriptor,
                                                        .begin_bytes = spec.number("offset", 0),
                                                        .block_device = backing->block_device,
                                                        .whole = !spec.has("size")},
                                      *geometry);
}

// The geometry of what options `offset` and `size` choose from the whole file.
Result<Geometry> cut_to_range(const Spec& spec, const std::string& path, const BackingFile& file) {
  const Geometry& whole = file.geometry;
  const uint32_t block = whole.logical_block_bytes;
  const uint64_t begin = spec.number("offset", 0);
  if (auto checked = check_block_multiple("offset", begin, path, block); !checked) {
    return std::unexpected(checked.error());
  }
  if (whole.size_bytes < block) {
    const std::string advice =
        file.block_device ? "is a medium in the drive?"
                          : fmt::format("give it a size with truncate -s SIZE {}", shown(path));
    return fail(EINVAL, fmt::format("{} has {} bytes, less than one block of {}: {}", shown(path),
                                    whole.size_bytes, block, advice));
  }
  if (begin > whole.size_bytes - block) {
    return fail(EINVAL, fmt::format("offset {} leaves nothing of {}, which has {} bytes: give a"
                                    " smaller one",
                                    begin, shown(path), whole.size_bytes));
  }
  Geometry part = whole;
  const uint64_t left = whole.size_bytes - begin;
  part.size_bytes = spec.number("size", left / block * block);
  if (auto checked = check_block_multiple("size", part.size_bytes, path, block); !checked) {
    return std::unexpected(checked.error());
  }
  if (part.size_bytes > left) {
    return fail(EINVAL, fmt::format("size {} does not fit into {}, which has {} bytes from offset"
                                    " {} on: give a smaller one, or make the file larger",
                                    part.size_bytes, shown(path), left, begin));
  }
  if (!spec.has("size") && left % block != 0) {
    spdlog::warn("{}: its last {} bytes are left out, its size is no multiple of {}", shown(path),
                 left % block, block);
  }
  // What is aligned in the part is aligned in the file only as far as the part is.
  part.physical_block_bytes =
      static_cast<uint32_t>(std::gcd(uint64_t{whole.physical_block_bytes}, begin));
  return part;
}

Result<void> check_block_multiple(const char* option, uint64_t value, const std::string& path,
                                  uint32_t block_bytes) {
  if (value % block_bytes == 0) return {};
  return fail(
      EINVAL,
      fmt::format("{} {} is no multiple of {} bytes, the block of {}: give {} or {}", option, value,
                  block_bytes, shown(path), value / block_bytes * block_bytes,
                  (value / block_bytes + 1) * block_bytes));
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
    .open = open,
};

}  // namespace sluice
