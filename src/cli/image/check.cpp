// `sluice check`.
#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/image/image_file.hpp"
#include "cli/show.hpp"
#include "spec/nearest.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/offline/repair.hpp"

namespace sluice::cli {
namespace {

using qcow2::CheckResult;

void declare_check(CommandLine& line, std::span<const std::string>) {
  line.add_word("FILE");
  line.add({'r', "repair", "leaks|all", "repair what is wrong"});
  line.add({.name = "json", .help = "print all values as an object"});
}

Outcome<std::optional<qcow2::Repair>> wanted_repair(const CommandLine& line) {
  if (!line.has("repair")) return std::nullopt;
  const std::string what = line.text("repair");
  if (what == "leaks") return qcow2::Repair::leaks;
  if (what == "all") return qcow2::Repair::all;
  return failed(fmt::format("-r takes 'leaks' or 'all', found {}", shown(what)));
}

Json check_json(const ImageFile& file, const CheckResult& result) {
  Json json = Json::object();
  json.set("filename", bytes_json(file.path));
  json.set("format", file.format);
  json.set("check-errors", result.check_errors);
  json.set("corruptions", result.corruptions);
  json.set("leaks", result.leaks);
  json.set("corruptions-fixed", result.corruptions_fixed);
  json.set("leaks-fixed", result.leaks_fixed);
  json.set("total-clusters", result.total_clusters);
  json.set("allocated-clusters", result.allocated_clusters);
  json.set("fragmented-clusters", result.fragmented_clusters);
  json.set("compressed-clusters", result.compressed_clusters);
  json.set("image-end-offset", result.image_end_offset);
  json.set("faults", result.sentences);
  json.set("more-faults", result.more_sentences);
  return json;
}

std::string counted(uint64_t number, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", number, number == 1 ? one : many);
}

std::string percent(uint64_t part, uint64_t whole) {
  const double share =
      whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
  return fmt::format("{:.2f}%", share);
}

std::string check_text(const CheckResult& result) {
  std::string text;
  for (const std::string& each : result.sentences)
    text += printable(each, std::string::npos) + "\n";
  if (result.more_sentences > 0) text += fmt::format("{} more faults\n", result.more_sentences);
  if (result.corruptions_fixed + result.leaks_fixed > 0) {
    text += fmt::format("repaired: {}, {}\n",
                        counted(result.corruptions_fixed, "corruption", "corruptions"),
                        counted(result.leaks_fixed, "leaked cluster", "leaked clusters"));
  }
  if (result.clean()) {
    text += "no errors\n";
  } else {
    text += fmt::format("{}, {}, {}\n", counted(result.corruptions, "corruption", "corruptions"),
                        counted(result.leaks, "leaked cluster", "leaked clusters"),
                        counted(result.check_errors, "part not read", "parts not read"));
  }
  text += fmt::format("{}/{} clusters allocated ({}), {} fragmented, {} compressed\n",
                      result.allocated_clusters, result.total_clusters,
                      percent(result.allocated_clusters, result.total_clusters),
                      percent(result.fragmented_clusters, result.allocated_clusters),
                      percent(result.compressed_clusters, result.allocated_clusters));
  return text + fmt::format("image end offset: {}\n", result.image_end_offset);
}

// The exit codes of qemu-img. The report has told the reason.
Outcome<void> exit_of(const CheckResult& result) {
  if (result.check_errors > 0) return std::unexpected(Failure{Exit::failure, {}});
  if (result.corruptions > 0) return std::unexpected(Failure{Exit::corruptions, {}});
  if (result.leaks > 0) return std::unexpected(Failure{Exit::leaks, {}});
  return {};
}

Result<CheckResult> checked(int descriptor) {
  auto found = qcow2::check_image(descriptor);
  if (!found) return std::unexpected(found.error());
  return std::move(found->result);
}

Outcome<void> check(const CommandLine& line, const Streams& streams) {
  if (!line.word()) return failed("'sluice check' needs a FILE");
  const auto repair = wanted_repair(line);
  if (!repair) return std::unexpected(repair.error());
  const auto file = open_image(*line.word(), *repair ? ImageAccess::write : ImageAccess::read);
  if (!file) return std::unexpected(file.error());
  if (file->format != "qcow2") {
    return std::unexpected(
        Failure{Exit::unsupported, fmt::format("{} is a {} image, which has nothing to check",
                                               shown(file->path), file->format)});
  }
  const int descriptor = file->descriptor.number();
  const auto result = *repair ? qcow2::repair_image(descriptor, **repair) : checked(descriptor);
  if (!result) {
    return failed(fmt::format("{} cannot be checked: {}", shown(file->path), result.error().text));
  }
  streams.out << (line.has("json") ? written(check_json(*file, *result)) : check_text(*result));
  return exit_of(*result);
}

}  // namespace

// 2, which elsewhere means a malformed command line, means corruptions here.
constinit const Command kCheckCommand = {
    .name = "check",
    .synopsis = "FILE [--repair leaks|all] [--json]",
    .summary = "Check a qcow2 image that is not in use, and repair it.",
    .declare = declare_check,
    .run = check,
    .has_state = false,
    .usage_exit = Exit::failure};

}  // namespace sluice::cli
