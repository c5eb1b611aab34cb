// `sluice thin check`.
#include "persistent/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cli/image/progress.hpp"
#include "cli/show.hpp"
#include "cli/thin/thin.hpp"
#include "image/metadata_writer.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
namespace {

using persistent::CheckResult;

Json thin_check_json(const image::OpenDisk& disk, const CheckResult& result) {
  Json json = Json::object();
  json.set("filename", disk.name());
  json.set("check-errors", result.check_errors);
  json.set("corruptions", result.corruptions);
  json.set("leaks", result.leaks);
  json.set("needs-check", result.needs_check);
  json.set("devices", result.devices);
  json.set("mapped-blocks", result.mapped_blocks);
  json.set("data-blocks", result.data_blocks);
  json.set("used-data-blocks", result.used_data_blocks);
  json.set("metadata-blocks", result.metadata_blocks);
  json.set("used-metadata-blocks", result.used_metadata_blocks);
  json.set("faults", result.sentences);
  json.set("more-faults", result.more_sentences);
  return json;
}

std::string number_of(uint64_t number, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", number, number == 1 ? one : many);
}

std::string thin_check_text(const CheckResult& result) {
  std::string text;
  for (const std::string& each : result.sentences) {
    text += printable(each, std::string::npos) + "\n";
  }
  if (result.more_sentences > 0) text += fmt::format("{} more faults\n", result.more_sentences);
  if (result.clean()) {
    text += "no errors\n";
  } else {
    text += fmt::format("{}, {}, {}\n", number_of(result.corruptions, "corruption", "corruptions"),
                        number_of(result.leaks, "leaked block", "leaked blocks"),
                        number_of(result.check_errors, "part not read", "parts not read"));
  }
  text += fmt::format("{}, {} mapped\n", number_of(result.devices, "device", "devices"),
                      number_of(result.mapped_blocks, "block", "blocks"));
  text +=
      fmt::format("{} of {} data blocks, {} of {} metadata blocks used\n", result.used_data_blocks,
                  result.data_blocks, result.used_metadata_blocks, result.metadata_blocks);
  return text;
}

std::string mark_text(const CheckResult& result, bool cleared) {
  if (cleared) return "the mark that the pool needs a check is cleared\n";
  if (!result.needs_check) return {};
  return fmt::format("the pool is marked as one that needs a check{}\n",
                     result.clean() ? "" : ", and stays so: 'sluice thin repair' makes a new one");
}

// One block, as a commit ends with.
Outcome<void> clear_needs_check(image::OpenDisk& disk, image::MetadataReader& reader) {
  auto superblock = persistent::load_superblock(reader);
  if (!superblock) return std::unexpected(blame_metadata(disk, superblock.error()));
  if (superblock->read_only_compatible != 0) {
    return failed(
        fmt::format("{} has features without which it must not be written", shown(disk.name())));
  }
  superblock->flags &= ~persistent::Superblock::kNeedsCheck;
  alignas(8) std::array<std::byte, persistent::kBlockBytes> block;
  persistent::write_superblock(*superblock, block);
  image::MetadataWriter writer(disk, reader);
  if (auto written = writer.write_superblock(block); !written) {
    return std::unexpected(blame_metadata(disk, written.error()));
  }
  return {};
}

// As `sluice check`. The report has told the reason.
Outcome<void> thin_exit_of(const CheckResult& result) {
  if (result.check_errors > 0) return std::unexpected(Failure{Exit::failure, {}});
  if (result.corruptions > 0) return std::unexpected(Failure{Exit::corruptions, {}});
  if (result.leaks > 0) return std::unexpected(Failure{Exit::leaks, {}});
  return {};
}

}  // namespace

Outcome<void> check_thin(const CommandLine& line, const Streams& streams) {
  const bool clears = line.has("clear-needs-check");
  if (clears && line.has("force_share")) {
    return failed("--clear-needs-check changes the pool, and goes not with -U");
  }
  const auto disk =
      open_thin_disk(line, thin_words(line)[0], clears ? ThinAccess::write : ThinAccess::read);
  if (!disk) return std::unexpected(disk.error());
  image::MetadataReader reader(**disk);
  Result<CheckResult> result;
  {
    Progress progress(streams.error, line.has("progress"));
    result = persistent::check(
        reader, [&](uint64_t done, uint64_t all) { progress.tell(std::min(done, all), all); });
    progress.tell(1, 1);
  }
  if (!result) return std::unexpected(blame_metadata(**disk, result.error()));
  bool cleared = false;
  if (clears && result->needs_check && result->clean()) {
    if (auto written = clear_needs_check(**disk, reader); !written) return written;
    cleared = true;
    result->needs_check = false;
  }
  streams.out << (line.has("json") ? written(thin_check_json(**disk, *result))
                                   : thin_check_text(*result) + mark_text(*result, cleared));
  return thin_exit_of(*result);
}

}  // namespace sluice::cli
