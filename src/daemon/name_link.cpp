#include "daemon/name_link.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/retry.hpp"
#include "daemon/frontends.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kUdevTimeout{3};
constexpr int kAttempts = 10;
constexpr std::string_view kDevices = "/dev/";

bool has_link(const DeviceRecord& record);
fs::path link_of(const DeviceRecord& record);
bool leads_to_device(const DeviceRecord& record);
bool udev_makes_links();
bool made_by_udev(const DeviceRecord& record);
Result<void> make_by_hand(const DeviceRecord& record);

}  // namespace

Result<void> make_name_link(const DeviceRecord& record) {
  if (!has_link(record) || leads_to_device(record)) return {};
  if (udev_makes_links() && made_by_udev(record)) return {};
  return make_by_hand(record);
}

void remove_name_link(const DeviceRecord& record) {
  if (!has_link(record) || !leads_to_device(record)) return;
  unlink(link_of(record).c_str());
  rmdir(kLinkDirectory);  // succeeds after the last link
}

std::string udev_properties(const std::string& kernel_name) {
  for (const DeviceRecord& record : read_records()) {
    if (record.path != fmt::format("{}{}", kDevices, kernel_name)) continue;
    // A loop device ends with its server, and its number may then be reused.
    if (!outlives_server(record) && !server_alive(record)) continue;
    const std::string serial = record.name.empty() ? fmt::format("{}", record.id) : record.name;
    std::string lines = fmt::format(
        "ID_VENDOR=Sluice\nID_MODEL=Sluice_{0}\nID_MODEL_ENC=Sluice\\x20{0}\n"
        "ID_SERIAL=Sluice_{0}_{1}\nID_SERIAL_SHORT={1}\nSLUICE_NUMBER={2}\n",
        record.spec.target, serial, record.id);
    if (!record.name.empty()) lines += fmt::format("SLUICE_NAME={}\n", record.name);
    return lines;
  }
  return {};
}

namespace {

bool has_link(const DeviceRecord& record) {
  return is_block_device(record) && !record.name.empty() && record.path.starts_with(kDevices) &&
         geteuid() == 0;
}

fs::path link_of(const DeviceRecord& record) { return fs::path(kLinkDirectory) / record.name; }

bool leads_to_device(const DeviceRecord& record) {
  std::error_code error;
  const fs::path target = fs::read_symlink(link_of(record), error);
  return !error && (fs::path(kLinkDirectory) / target).lexically_normal() == record.path;
}

// The rules of udev search only the default state directory.
bool udev_makes_links() {
  if (state_directory() != kSystemStateDirectory || access("/run/udev/control", F_OK) != 0) {
    return false;
  }
  for (const char* const directory : {"/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"}) {
    const std::string rules = fmt::format("{}/udev/rules.d/60-sluice.rules", directory);
    if (access(rules.c_str(), R_OK) == 0) return true;
  }
  return false;
}

// Repeats the kernel's event, which came before the device's record was complete.
bool made_by_udev(const DeviceRecord& record) {
  std::ofstream event(
      fmt::format("/sys/class/block/{}/uevent", record.path.substr(kDevices.size())));
  event << "change" << std::flush;
  if (!event) return false;
  return wait_until(kUdevTimeout, [&] { return leads_to_device(record); });
}

// Atomically replaces a link left by another device of that name. Removing the last link removes
// the directory as well.
Result<void> make_by_hand(const DeviceRecord& record) {
  const fs::path link = link_of(record);
  const std::string fresh = fmt::format("{}/.{}.{}", kLinkDirectory, record.name, getpid());
  const std::string target = fmt::format("../{}", record.path.substr(kDevices.size()));
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (mkdir(kLinkDirectory, 0755) == 0) chmod(kLinkDirectory, 0755);
    if (symlink(target.c_str(), fresh.c_str()) == 0 && rename(fresh.c_str(), link.c_str()) == 0) {
      return {};
    }
    if (errno != ENOENT) break;
  }
  const int cause = errno;
  unlink(fresh.c_str());
  return fail(cause, fmt::format("there is no link {} to {}: {}", link.native(), record.path,
                                 std::strerror(cause)));
}

}  // namespace
}  // namespace sluice
