#include "cli/thin/lvm_trace.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string_view>

#include "core/descriptor.hpp"

namespace sluice::cli {
namespace {

// device-mapper has a name from each of its users.
bool is_logical_volume(const struct stat& file) {
  if (!S_ISBLK(file.st_mode)) return false;
  std::ifstream uuid(
      fmt::format("/sys/dev/block/{}:{}/dm/uuid", major(file.st_rdev), minor(file.st_rdev)));
  std::string line;
  return std::getline(uuid, line) && line.starts_with("LVM-");
}

// The label is in one of the first four sectors.
bool is_physical_volume(int descriptor) {
  constexpr size_t kSector = 512;
  std::array<char, 4 * kSector> bytes{};
  if (pread(descriptor, bytes.data(), bytes.size(), 0) < static_cast<ssize_t>(kSector))
    return false;
  const std::string_view all(bytes.data(), bytes.size());
  for (size_t sector = 0; sector < all.size(); sector += kSector) {
    const std::string_view label = all.substr(sector, kSector);
    if (label.starts_with("LABELONE") && label.substr(24).starts_with("LVM2 001")) return true;
  }
  return false;
}

bool file_is_of_lvm(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat found{};
  if (!file.valid() || fstat(file.number(), &found) != 0) return false;
  return is_logical_volume(found) || is_physical_volume(file.number());
}

}  // namespace

bool is_of_lvm(const Spec& spec) {
  if (spec.target == "loop" && file_is_of_lvm(spec.text("file"))) return true;
  return std::ranges::any_of(spec.children, is_of_lvm);
}

}  // namespace sluice::cli
