// `sluice thin check`.
#include "persistent/check.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/image/progress.hpp"
#include "cli/show.hpp"
#include "cli/thin/thin.hpp"
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
  if (result.needs_check) text += "the pool is marked as one that needs a check\n";
  return text;
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
  const auto disk = open_thin_disk(line, thin_words(line)[0], ThinAccess::read);
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
  streams.out << (line.has("json") ? written(thin_check_json(**disk, *result))
                                   : thin_check_text(*result));
  return thin_exit_of(*result);
}

}  // namespace sluice::cli
