// mem: a sparse disk in memory, all zeroes at first, gone at the end.
//
// A file of tmpfs without a name, so that the same requests serve it as a loop target: the kernel
// moves the data between its pages and the lent ones, and discarded ranges cost nothing.
#include <fmt/format.h>

#include "spec/size.hpp"
#include "target/loop/backing_file.hpp"
#include "target/loop/file_target.hpp"
#include "target/open.hpp"

namespace sluice {
namespace {

constexpr OptionSyntax kOptions[] = {
    {.name = "size",
     .kind = OptionKind::size,
     .required = true,
     .minimum = 512,
     .help = "how large it is"},
};

// NOLINTNEXTLINE(performance-unnecessary-value-param): all open functions are of one type
Result<std::unique_ptr<Target>> open(const Spec& spec, Target::Children, OpenContext& context) {
  const uint64_t size_bytes = spec.number("size", 0);
  if (size_bytes % 512 != 0) {
    return fail(EINVAL, fmt::format("size {} of mem is no multiple of 512 bytes: give {}",
                                    size_bytes, (size_bytes / 512 + 1) * 512));
  }
  auto backing = BackingFile::create_in_memory(size_bytes);
  if (!backing) return std::unexpected(backing.error());
  Geometry geometry = backing->geometry;
  geometry.volatile_cache = false;  // nothing here outlives the process, flushed or not
  const int descriptor = backing->descriptor.release();
  return std::make_unique<FileTarget>(
      FileTarget::Place{.name = fmt::format("mem:{}", format_size(size_bytes)),
                        .file = context.add_file(descriptor),
                        .descriptor = descriptor},
      geometry);
}

}  // namespace

constinit const TargetType kMemTarget = {
    .syntax =
        {
            .name = "mem",
            .summary = "a disk in memory",
            .leaf_option = "size",
            .options = kOptions,
        },
    .open = open,
};

}  // namespace sluice
