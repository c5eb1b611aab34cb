// `sluice measure`.
#include "image/measure.hpp"

#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/image/create_options.hpp"
#include "cli/image/image_facts.hpp"
#include "cli/image/image_source.hpp"
#include "cli/image/output_form.hpp"
#include "cli/show.hpp"
#include "cli/values.hpp"
#include "spec/size.hpp"

namespace sluice::cli {
namespace {

using image::Measure;

// The figures, and what bitmaps need where there may be some.
struct Figures {
  Measure image;
  std::optional<uint64_t> bitmaps_bytes = {};
};

void declare_measure(CommandLine& line, std::span<const std::string>) {
  line.add_word("SPEC");
  declare_source(line, "of SPEC, which is then a file; found out by default");
  line.add({'O', "output_format", "raw|qcow2", "of the new image; raw by default"});
  declare_format_options(line, "of the new image, as for 'sluice create'");
  line.add({.name = "size", .value = "SIZE", .help = "of an empty disk, in place of SPEC"});
  declare_output(line);
}

// Of the image that has the disk, if it is one that may have bitmaps.
Outcome<std::optional<std::vector<qcow2::BitmapEntry>>> bitmaps_of(const Spec& spec,
                                                                   bool unlocked) {
  if (spec.target != "qcow2" || !spec.has("file")) return std::nullopt;
  const auto facts =
      read_image_facts(spec.text("file"), unlocked ? ImageAccess::unlocked : ImageAccess::read);
  if (!facts) return std::unexpected(facts.error());
  if (!facts->qcow2 || facts->qcow2->header.version < 3) return std::nullopt;
  return facts->qcow2->bitmaps;
}

Outcome<Figures> measure_source(const CommandLine& line, CreateRequest& request) {
  const auto format = read_format(line, kFormat);
  if (!format) return std::unexpected(format.error());
  const bool unlocked = line.has(kForceShare);
  const auto disk = open_source(*line.word(), *format, unlocked);
  if (!disk) return std::unexpected(disk.error());
  request.options.size_bytes = (*disk)->size_bytes();
  if (!request.is_qcow2) return Figures{.image = image::measure_raw(request.options.size_bytes)};
  const uint64_t cluster = uint64_t{1} << request.options.cluster_bits;
  const auto data = image::count_data(**disk, cluster);
  if (!data) return failed(data.error());
  const auto measured = image::measure_qcow2(request.options, *data);
  if (!measured) return failed(measured.error());
  Figures figures{.image = *measured};
  if (request.options.version < 3) return figures;
  const auto bitmaps = bitmaps_of((*disk)->stack().spec(), unlocked);
  if (!bitmaps) return std::unexpected(bitmaps.error());
  if (*bitmaps) {
    figures.bitmaps_bytes = image::measure_bitmaps(**bitmaps, request.options.size_bytes, cluster);
  }
  return figures;
}

Outcome<Figures> measure_size(const CommandLine& line, CreateRequest& request) {
  const auto size = read_size(line, "size", 0, {0, kSizeMax});
  if (!size) return std::unexpected(size.error());
  request.options.size_bytes = *size;
  if (!request.is_qcow2) return Figures{.image = image::measure_raw(*size)};
  const auto measured = image::measure_qcow2(request.options, 0);
  if (!measured) return failed(measured.error());
  return Figures{.image = *measured};
}

std::string measure_text(const Figures& figures) {
  std::string text = fmt::format("required size: {}\nfully allocated size: {}\n",
                                 figures.image.required_bytes, figures.image.fully_allocated_bytes);
  if (figures.bitmaps_bytes) text += fmt::format("bitmaps size: {}\n", *figures.bitmaps_bytes);
  return text;
}

Json measure_json(const Figures& figures) {
  Json json = Json::object();
  if (figures.bitmaps_bytes) json.set("bitmaps", *figures.bitmaps_bytes);
  json.set("required", figures.image.required_bytes);
  json.set("fully-allocated", figures.image.fully_allocated_bytes);
  return json;
}

Outcome<void> measure(const CommandLine& line, const Streams& streams) {
  if (line.word().has_value() == line.has("size")) {
    return usage("'sluice measure' needs a SPEC or --size, one of them");
  }
  const auto format = read_format(line, "output_format");
  if (!format) return std::unexpected(format.error());
  const auto as_json = wants_json(line);
  if (!as_json) return std::unexpected(as_json.error());
  CreateRequest request{.is_qcow2 = *format == "qcow2"};
  if (auto read = read_format_options(line.values("options"), request); !read) return read;
  const auto figures = line.word() ? measure_source(line, request) : measure_size(line, request);
  if (!figures) return std::unexpected(figures.error());
  streams.out << (*as_json ? written(measure_json(*figures)) : measure_text(*figures));
  return {};
}

}  // namespace

constinit const Command kMeasureCommand = {
    .name = "measure",
    .synopsis =
        "[-O FORMAT] [-o NAME=VALUE,...] [-f FORMAT] [-U] [--json] SPEC\n"
        "[-O FORMAT] [-o NAME=VALUE,...] [--json] --size SIZE",
    .summary = "Show how large an image of a disk will be.",
    .declare = declare_measure,
    .run = measure,
    .has_state = false};

}  // namespace sluice::cli
