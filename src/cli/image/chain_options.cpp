#include "cli/image/chain_options.hpp"

#include <fmt/format.h>

#include "spec/shown.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::cli {
namespace {

constexpr std::string_view kPolicy = "backing";

}  // namespace

void declare_backing_policy(CommandLine& line) {
  line.add({.name = std::string(kPolicy),
            .value = "same-dir|any",
            .help = "which files an image may name: those beside it (default), or any"});
}

Outcome<qcow2::NamePolicy> read_backing_policy(const CommandLine& line) {
  const auto policy = qcow2::parse_policy(line.text(kPolicy, "same-dir"));
  if (policy && *policy != qcow2::NamePolicy::none) return *policy;
  return usage(
      fmt::format("--backing takes 'same-dir' or 'any', found {}", shown(line.text(kPolicy))));
}

Spec disk_spec(const std::string& path, const std::string& format, const CommandLine& line) {
  Spec spec{.target = format == "qcow2" ? "qcow2" : "loop"};
  spec.set("file", path);
  if (format == "qcow2") {
    spec.set("backing", line.text(kPolicy, "same-dir"));
  } else {
    spec.set("block", uint64_t{512});
  }
  return spec;
}

Outcome<ImageFile> open_chain_image(const std::string& path, qcow2::Header& header) {
  auto file = open_image(path, ImageAccess::write);
  if (!file) return file;
  if (file->format != "qcow2") {
    return failed(fmt::format("{} is a {} image: only a qcow2 image has a backing file",
                              shown(path), file->format));
  }
  const auto read = qcow2::read_image_header(file->descriptor.number());
  if (!read) return failed(fmt::format("{}: {}", shown(path), read.error().text));
  if (read->has(qcow2::kDirty | qcow2::kCorrupt)) {
    return failed(
        fmt::format("{} was not closed, or is marked as corrupt: repair it with sluice"
                    " check --repair all {}",
                    shown(path), shell_word(path)));
  }
  header = *read;
  return file;
}

}  // namespace sluice::cli
