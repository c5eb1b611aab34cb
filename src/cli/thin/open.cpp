// How the actions of `sluice thin` open pools, and what they refuse.
#include "cli/thin/thin.hpp"

#include <fmt/format.h>

#include <cerrno>

#include "cli/image/image_source.hpp"
#include "image/foreign_content.hpp"
#include "image/metadata_writer.hpp"
#include "persistent/devices.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {

using OpenedDisk = Outcome<std::unique_ptr<image::OpenDisk>>;

namespace {

OpenedDisk open_disk(const std::string& word, image::OpenDisk::Options options) {
  const auto spec = destination_spec(word, {});
  if (!spec) return std::unexpected(spec.error());
  options.name = word;
  auto disk = image::OpenDisk::open(*spec, options);
  if (!disk) return failed(disk.error());
  return std::move(*disk);
}

}  // namespace

OpenedDisk open_thin_disk(const CommandLine& line, const std::string& word, ThinAccess access,
                          const image::OpenDisk* beside) {
  const bool writable = access == ThinAccess::write;
  const auto has = [&](std::string_view option) {
    return line.find(option) != nullptr && line.has(option);
  };
  // A metadata snapshot is there to be read while the pool is in use.
  const bool unlocked = has(kForceShare) || has("metadata_snapshot");
  auto disk =
      open_disk(word, {.writable = writable, .unlocked = !writable && unlocked, .beside = beside});
  if (!disk || !writable) return disk;
  if (auto checked = image::MetadataWriter::check_blocks(**disk); !checked) {
    return failed(checked.error());
  }
  return disk;
}

OpenedDisk open_data_disk(const std::string& word, const image::OpenDisk& metadata) {
  return open_disk(word, {.writable = true, .beside = &metadata});
}

Outcome<OpenMetadata> open_metadata(const CommandLine& line) {
  auto disk = open_thin_disk(line, thin_words(line)[0], ThinAccess::read);
  if (!disk) return std::unexpected(disk.error());
  auto reader = std::make_unique<image::MetadataReader>(**disk);
  auto superblock = persistent::load_superblock(*reader);
  if (superblock && line.has("metadata_snapshot")) {
    superblock = persistent::load_snapshot(*reader, *superblock);
  }
  if (!superblock) return std::unexpected(blame_metadata(**disk, superblock.error()));
  return OpenMetadata{std::move(*disk), std::move(reader), *superblock};
}

Outcome<void> check_is_unused(const CommandLine& line, image::OpenDisk& disk) {
  if (line.has("force")) return {};
  image::MetadataReader reader(disk);
  const auto superblock = persistent::load_superblock(reader);
  const int error = superblock ? 0 : superblock.error().error;
  auto content = image::find_foreign_content(disk);
  if (!content) return failed(content.error());
  // Damaged, or newer ones as well.
  if (error == 0 || error == EILSEQ || error == EOPNOTSUPP) {
    content = "the metadata of a thin pool";
  }
  if (content->empty()) return {};
  return failed(
      fmt::format("{} has {}: give --force to overwrite it", shown(disk.name()), *content));
}

Failure blame_metadata(const image::OpenDisk& disk, const Error& error) {
  const std::string name = shown(disk.name());
  std::string text =
      error.text.contains(name) ? error.text : fmt::format("{}: {}", name, error.text);
  if (error.error == EUCLEAN) {
    text +=
        ": run 'sluice thin check --clear-needs-check', and 'sluice thin repair' if it finds "
        "corruptions";
  }
  return {Exit::failure, std::move(text)};
}

}  // namespace sluice::cli
