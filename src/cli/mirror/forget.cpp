// `sluice mirror forget`.
#include <fmt/format.h>

#include "cli/mirror/mirror.hpp"
#include "image/mirror_leg.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {

// All are opened and looked at before the first is changed.
Outcome<void> forget_mirror(const CommandLine& line, const Streams&) {
  std::vector<std::unique_ptr<image::OpenDisk>> disks;
  for (const std::string& word : leg_words(line)) {
    auto disk = open_leg(word, LegAccess::write);
    if (!disk) return std::unexpected(disk.error());
    const auto leg = image::read_mirror_leg(**disk);
    if (!leg && !line.has("force")) {
      return failed(fmt::format("{}; --force erases it nevertheless", leg.error().text));
    }
    if (leg && !*leg) return failed(fmt::format("{} has no mirror superblock", shown(word)));
    disks.push_back(std::move(*disk));
  }
  for (const auto& disk : disks) {
    const auto erased = image::erase_mirror_leg(*disk);
    if (!erased) return failed(erased.error());
    if (!*erased) return failed(fmt::format("{} has no mirror superblock", shown(disk->name())));
  }
  return {};
}

}  // namespace sluice::cli
