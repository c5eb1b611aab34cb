// `sluice map`.
#include "image/map.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/command.hpp"
#include "cli/image/image_source.hpp"
#include "cli/image/output_form.hpp"
#include "cli/values.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

void declare_map(CommandLine& line, std::span<const std::string>) {
  line.add_word("SPEC");
  declare_source(line, "of SPEC, which is then a file; found out by default");
  line.add({'s', "start_offset", "SIZE", "begin there"});
  line.add({'l', "max_length", "SIZE", "show so much"});
  declare_output(line);
}

// A member of an object, as qemu-img writes it.
std::string map_json(uint64_t offset, const Extent& extent) {
  std::string text = fmt::format(
      R"({{ "start": {}, "length": {}, "depth": {}, "present": {}, "zero": {}, "data": {}, )"
      R"("compressed": {})",
      offset, extent.length, extent.depth, extent.allocated, extent.zero, !extent.hole,
      extent.compressed);
  if (extent.place != Extent::kNoPlace) text += fmt::format(", \"offset\": {}", extent.place);
  return text + "}";
}

// As C writes it.
std::string hex(uint64_t number) { return number == 0 ? "0" : fmt::format("{:#x}", number); }

// A line for what is data.
std::string map_line(uint64_t offset, const Extent& extent, const std::string& disk) {
  const bool has_place = extent.place != Extent::kNoPlace;
  const std::string place = extent.compressed ? "compressed" : has_place ? hex(extent.place) : "-";
  return fmt::format("{:<15} {:<15} {:<15} {}\n", hex(offset), hex(extent.length), place,
                     printable(extent.file.empty() ? disk : extent.file, std::string::npos));
}

Outcome<void> map(const CommandLine& line, const Streams& streams) {
  if (!line.word()) return usage("'sluice map' needs a SPEC");
  const auto format = read_format(line, kFormat);
  if (!format) return std::unexpected(format.error());
  const auto as_json = wants_json(line);
  if (!as_json) return std::unexpected(as_json.error());
  const auto begin = read_size(line, "start_offset", 0, {});
  if (!begin) return std::unexpected(begin.error());
  const auto most = read_size(line, "max_length", UINT64_MAX, {});
  if (!most) return std::unexpected(most.error());

  const auto disk = open_source(*line.word(), *format, line.has(kForceShare));
  if (!disk) return std::unexpected(disk.error());
  const uint64_t size = (*disk)->size_bytes();
  const uint64_t first = std::min(*begin, size);
  const uint64_t end = first + std::min(*most, size - first);
  bool is_first = true;
  streams.out << (*as_json ? "[" : "Offset          Length          Mapped to       File\n");
  const auto print = [&](uint64_t offset, const Extent& extent) {
    if (*as_json) {
      streams.out << (is_first ? "" : ",\n") << map_json(offset, extent);
    } else if (!extent.hole && !extent.zero) {
      streams.out << map_line(offset, extent, (*disk)->name());
    }
    is_first = false;
  };
  if (auto mapped = image::map_disk(**disk, first, end, Detail::places, print); !mapped) {
    return failed(mapped.error());
  }
  if (*as_json) streams.out << "]\n";
  return {};
}

}  // namespace

constinit const Command kMapCommand = {
    .name = "map",
    .synopsis = "[-f FORMAT] [-U] [-s SIZE] [-l SIZE] [--json] SPEC",
    .summary = "Show where the parts of a disk are: data, holes and zeroes.",
    .declare = declare_map,
    .run = map,
    .has_state = false};

}  // namespace sluice::cli
