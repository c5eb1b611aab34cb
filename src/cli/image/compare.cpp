// `sluice compare`.
#include "image/compare.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/command.hpp"
#include "cli/image/image_source.hpp"
#include "cli/image/progress.hpp"
#include "cli/show.hpp"

namespace sluice::cli {
namespace {

using image::Comparison;
using image::Difference;

constexpr std::string_view kSecondFormat = "second_format";

void declare_compare(CommandLine& line, std::span<const std::string>) {
  line.add_word("SPEC");
  line.add_word("SPEC");
  declare_source(line, "of the first SPEC, which is then a file; found out by default");
  line.add({'F', std::string(kSecondFormat), "raw|qcow2", "of the second SPEC"});
  line.add({'s', "strict", "", "the sizes, and what is data, zero or hole, must be the same, too"});
  line.add({'p', "progress", "", "show the progress"});
  line.add({'q', "quiet", "", "print errors only"});
  line.add({.name = "json", .help = "print the result as an object"});
}

// `common`: the bytes that both disks have.
std::string compare_text(const Comparison& found, uint64_t common) {
  constexpr std::string_view kSizes = "Warning: Image size mismatch!\n";
  switch (found.difference) {
    case Difference::none:
      break;
    case Difference::content:
      return fmt::format("{}Content mismatch at offset {}!\n", found.offset < common ? "" : kSizes,
                         found.offset);
    case Difference::size:
      return "Strict mode: Image size mismatch!\n";
    case Difference::status:
      return fmt::format("Strict mode: Offset {} block status mismatch!\n", found.offset);
  }
  return fmt::format("{}Images are identical.\n", found.is_longer_with_zeroes ? kSizes : "");
}

Json compare_json(const Comparison& found, uint64_t size, uint64_t other_size) {
  constexpr const char* kNames[] = {"none", "content", "size", "status"};
  Json json = Json::object();
  json.set("identical", found.difference == Difference::none);
  json.set("difference", kNames[static_cast<size_t>(found.difference)]);
  if (found.difference == Difference::content || found.difference == Difference::status) {
    json.set("offset", found.offset);
  }
  json.set("virtual-sizes", std::vector<uint64_t>{size, other_size});
  return json;
}

// The exit codes of qemu-img: 1 is a difference.
Outcome<void> compare(const CommandLine& line, const Streams& streams) {
  if (line.words().size() != 2) return usage("'sluice compare' needs two SPECs");
  std::unique_ptr<image::OpenDisk> disks[2];
  for (size_t i = 0; i < 2; ++i) {
    const auto format = read_format(line, i == 0 ? kFormat : kSecondFormat);
    if (!format) return std::unexpected(format.error());
    auto opened = open_source(line.words()[i], *format, line.has(kForceShare));
    if (!opened) return std::unexpected(Failure{Exit::not_opened, opened.error().text});
    disks[i] = std::move(*opened);
  }
  const bool is_quiet = line.has("quiet");
  std::expected<Comparison, image::CompareFailure> found;
  {
    Progress progress(streams.error, line.has("progress") && !is_quiet);
    found = image::compare_disks(
        *disks[0], *disks[1],
        {.strict = line.has("strict"),
         .progress = [&](uint64_t done, uint64_t all) { progress.tell(done, all); }});
  }
  if (!found) {
    return std::unexpected(Failure{found.error().is_read ? Exit::not_read : Exit::not_mapped,
                                   found.error().error.text});
  }
  if (line.has("json")) {
    streams.out << written(compare_json(*found, disks[0]->size_bytes(), disks[1]->size_bytes()));
  } else if (!is_quiet) {
    const uint64_t common = std::min(disks[0]->size_bytes(), disks[1]->size_bytes());
    streams.out << compare_text(*found, common);
  }
  if (found->difference == Difference::none) return {};
  return std::unexpected(Failure{Exit::different, {}});
}

}  // namespace

constinit const Command kCompareCommand = {
    .name = "compare",
    .synopsis = "[-f FORMAT] [-F FORMAT] [-s] [-p] [-q] [-U] [--json] SPEC SPEC",
    .summary = "Compare the contents of two disks.",
    .declare = declare_compare,
    .run = compare,
    .has_state = false};

}  // namespace sluice::cli
