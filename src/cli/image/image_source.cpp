#include "cli/image/image_source.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "cli/crypt/passphrases.hpp"
#include "cli/image/image_file.hpp"
#include "spec/shown.hpp"
#include "target/registry.hpp"

namespace sluice::cli {
namespace {

Spec file_spec(const std::string& path, const std::string& format) {
  Spec spec{.target = format == "qcow2" ? "qcow2" : "loop"};
  spec.set("file", path);
  return spec;
}

bool is_plain_path(const Spec& spec) {
  return spec.target == "loop" && spec.options.size() == 1 && spec.has("file");
}

bool exists(const std::string& path) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0;
}

// What holds the bytes, in the format.
Spec in_format(Spec spec, const std::string& format) {
  if (is_plain_path(spec)) return file_spec(spec.text("file"), format);
  if (format != "qcow2") return spec;
  Spec image{.target = "qcow2"};
  image.children.push_back(std::move(spec));
  return image;
}

}  // namespace

void declare_source(CommandLine& line, std::string format_help) {
  line.add({'f', std::string(kFormat), "raw|qcow2", std::move(format_help)});
  line.add({'U', std::string(kForceShare), "", "read also what another program is writing"});
}

Outcome<std::string> read_format(const CommandLine& line, std::string_view option) {
  const std::string format = line.text(option);
  if (!line.has(option) || format == "raw" || format == "qcow2") return format;
  return usage(fmt::format("{} takes 'raw' or 'qcow2', found {}", line.find(option)->shown(),
                           shown(format)));
}

Outcome<Spec> destination_spec(const std::string& word, const std::string& format) {
  if (!format.empty() && exists(word)) return file_spec(word, format);
  auto spec = parse_spec(word, target_vocabulary());
  if (!spec && !format.empty()) return file_spec(word, format);  // a new file
  if (!spec) return failed(spec.error());
  if (auto read = read_passphrases(*spec); !read) return std::unexpected(read.error());
  return format.empty() ? *spec : in_format(std::move(*spec), format);
}

Outcome<Spec> source_spec(const std::string& word, const std::string& format, bool unlocked) {
  auto spec = destination_spec(word, format);
  if (!spec || !format.empty() || !is_plain_path(*spec)) return spec;
  const std::string path = spec->text("file");
  const auto file = open_image(path, unlocked ? ImageAccess::unlocked : ImageAccess::read);
  if (!file) return std::unexpected(file.error());
  if (file->format != "qcow2" && file->format != "raw") {
    return failed(
        fmt::format("{} is a {} image, and only raw and qcow2 are read: -f raw takes its "
                    "bytes as they are",
                    shown(path), file->format));
  }
  return file_spec(path, file->format);
}

Outcome<std::unique_ptr<image::OpenDisk>> open_source(const std::string& word,
                                                      const std::string& format, bool unlocked) {
  const auto spec = source_spec(word, format, unlocked);
  if (!spec) return std::unexpected(spec.error());
  spdlog::set_level(spdlog::level::warn);  // not how the files are opened
  auto disk = image::OpenDisk::open(*spec, {.unlocked = unlocked});
  if (!disk) return failed(disk.error());
  return std::move(*disk);
}

}  // namespace sluice::cli
