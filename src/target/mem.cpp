// mem: a sparse disk in memory, initially zero, lost at the end.
//
// An anonymous tmpfs file, served by the same code as a loop target: the kernel moves the data
// between its pages and the lent ones, and discarded ranges take no memory.
#include <fmt/format.h>

#include "spec/size.hpp"
#include "target/file/backing_file.hpp"
#include "target/file/file_target.hpp"
#include "target/open.hpp"

namespace sluice {
namespace {

constexpr OptionSyntax kMemOptions[] = {
    {.name = "size",
     .kind = OptionKind::size,
     .required = true,
     .minimum = 512,
     .help = "size of the disk"},
};

// NOLINTNEXTLINE(performance-unnecessary-value-param): all open functions are of one type
Result<std::unique_ptr<Target>> open_mem(const Spec& spec, Target::Children&&,
                                         OpenContext& context) {
  const uint64_t size_bytes = spec.number("size", 0);
  if (size_bytes % 512 != 0) {
    return fail(EINVAL, fmt::format("size {} of mem is no multiple of 512 bytes: {}", size_bytes,
                                    advise_multiple(size_bytes, 512, 512)));
  }
  const std::string name = fmt::format("mem:{}", format_size(size_bytes));
  auto backing = context.inherits() ? BackingFile::adopt(context.inherit(), name, {})
                                    : BackingFile::create_in_memory(size_bytes);
  if (!backing) return std::unexpected(backing.error());
  Geometry geometry = backing->geometry;
  geometry.volatile_cache = false;  // no data outlives the process, flushed or not
  const int descriptor = backing->descriptor.release();
  return std::make_unique<FileTarget>(FileTarget::Place{.name = name,
                                                        .file = context.add_file(descriptor),
                                                        .descriptor = descriptor,
                                                        .inherited = context.inherits(),
                                                        .swap_risk = backing->swap_risk},
                                      geometry);
}

}  // namespace

constinit const TargetType kMemTarget = {
    .syntax =
        {
            .name = "mem",
            .summary = "a disk in memory",
            .leaf_option = "size",
            .options = kMemOptions,
        },
    .open = open_mem,
};

}  // namespace sluice
