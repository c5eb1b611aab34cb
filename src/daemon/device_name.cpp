#include "daemon/device_name.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <system_error>
#include <vector>

#include "core/descriptor.hpp"
#include "daemon/name_link.hpp"
#include "frontend/no_such_device.hpp"
#include "frontend/ublk/control.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestName = 63;
constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view kSigns = "+-.:@_";
constexpr const char* kFileInDirectory = "disk";  // of front end fuse, see OneFile

// The kernel's information on a path, without a request to its file system.
struct Found {
  std::string path;  // without symbolic links
  mode_t mode = 0;
  dev_t device = 0;  // of a device node
};

std::optional<uint32_t> number_in(std::string_view text);
const DeviceRecord* record_of(const std::vector<DeviceRecord>& records, auto is_it);
Result<uint32_t> find_by_path(std::string_view word, const std::vector<DeviceRecord>& records);
bool leads_to(const DeviceRecord& record, const std::string& path);
std::optional<uint32_t> ublk_number(std::string_view path);
Result<Found> look(const std::string& path);
Result<std::string> kernel_name(const Found& node, std::string_view word);
std::unexpected<Error> is_none(std::string_view word);

}  // namespace

Result<void> check_name(std::string_view name) {
  const auto refuse = [&](std::string_view why) {
    return fail(EINVAL, fmt::format("{} cannot be the name of a device: {}", shown(name), why));
  };
  if (name.empty()) return refuse("it is empty");
  if (name.size() > kLongestName) {
    return refuse(fmt::format("{} characters are the limit", kLongestName));
  }
  const auto is_one_of = [](char byte, auto... sets) { return (sets.contains(byte) || ...); };
  for (const char byte : name) {
    if (is_one_of(byte, kLetters, kDigits, kSigns)) continue;
    return refuse(fmt::format("it may have letters, digits and {}", kSigns));
  }
  if (!is_one_of(name.front(), kLetters, kDigits)) {
    return refuse("it must begin with a letter or a digit");
  }
  if (name.find_first_not_of(kDigits) == std::string_view::npos) {
    return refuse("it would be taken for a number");
  }
  return {};
}

Result<void> claim_name(const std::string& name, const StateLock& held) {
  if (name.empty()) return {};
  for (const DeviceRecord& record : read_records()) {
    if (record.name != name) continue;
    if (!is_stale(record)) {
      return fail(EEXIST,
                  fmt::format("{} has the name {}: choose another --name, or delete it with "
                              "'sluice del {}'",
                              described(record), shown(name), name));
    }
    remove_name_link(record);
    if (auto removed = remove_record(record, held); !removed) return removed;
  }
  return {};
}

std::string described(const DeviceRecord& record) {
  const std::string path = printable(record.path, std::string::npos);
  if (record.path.empty() && record.name.empty()) return fmt::format("device {}", record.id);
  return fmt::format("device {} ({}{}{})", record.id, record.name,
                     record.path.empty() || record.name.empty() ? "" : ", ", path);
}

Error with_number(Error error, const DeviceRecord& record) {
  if (!record.path.empty() && error.text.starts_with(record.path + " ")) {
    error.text.replace(0, record.path.size(), described(record));
  }
  return error;
}

Error server_is_gone(const DeviceRecord& record) {
  const std::string advice =
      record.recovery == "none"
          ? fmt::format("use 'sluice del -n {}', and add the device again", record.id)
          : fmt::format("use 'sluice recover -n {}'", record.id);
  return {ESRCH, fmt::format("the server of {}, process {}, is gone: {}", described(record),
                             record.pid, advice)};
}

Result<uint32_t> find_device(std::string_view word) {
  if (word.empty()) return fail(ENODEV, "the device is empty: give its number, name or path");
  if (const auto number = number_in(word)) return *number;
  const std::vector<DeviceRecord> records = read_records();
  const auto* const named =
      record_of(records, [&](const DeviceRecord& record) { return record.name == word; });
  if (named != nullptr) return named->id;
  return find_by_path(word, records);
}

namespace {

std::optional<uint32_t> number_in(std::string_view text) {
  uint32_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end || number > kMaxDeviceId) return std::nullopt;
  return number;
}

// Prefers a living device: the loop device of a dead one may now belong to another.
const DeviceRecord* record_of(const std::vector<DeviceRecord>& records, auto is_it) {
  const DeviceRecord* found = nullptr;
  for (const DeviceRecord& record : records) {
    if (is_it(record) && (found == nullptr || server_alive(record))) found = &record;
  }
  return found;
}

// First by its text: this also finds paths that no longer exist or would block. Only the kernel can
// resolve "..".
Result<uint32_t> find_by_path(std::string_view word, const std::vector<DeviceRecord>& records) {
  std::error_code error;
  const fs::path absolute = fs::absolute(word, error);
  const bool climbs = std::ranges::find(absolute, "..") != absolute.end();
  const std::string written = climbs ? absolute : absolute.lexically_normal();
  const auto leads_there = [&](const std::string& path) {
    return record_of(records, [&](const DeviceRecord& record) { return leads_to(record, path); });
  };
  if (const auto* const record = leads_there(written)) return record->id;
  const auto found = look(written);
  if (!found) {
    if (const auto number = ublk_number(written)) return *number;
    const fs::path link(written);
    const auto* const named = record_of(records, [&](const DeviceRecord& record) {
      return link.parent_path() == kLinkDirectory && link.filename() == record.name;
    });
    return named != nullptr ? Result<uint32_t>(named->id) : is_none(word);
  }
  std::string path = found->path;
  if (S_ISBLK(found->mode) || S_ISCHR(found->mode)) {
    auto name = kernel_name(*found, word);
    if (!name) return std::unexpected(name.error());
    path = "/dev/" + *name;
  }
  if (const auto number = ublk_number(path)) return *number;
  const auto* const record = leads_there(path);
  return record != nullptr ? Result<uint32_t>(record->id) : is_none(word);
}

// Front end fuse was given a file, or a directory for its file.
bool leads_to(const DeviceRecord& record, const std::string& path) {
  if (path.empty() || path == record.path) return !path.empty();
  if (record.at.empty()) return false;
  const fs::path at = fs::path(record.at).lexically_normal();
  if (path == at) return true;
  return at.filename() != kFileInDirectory && fs::path(path) / kFileInDirectory == record.path;
}

std::optional<uint32_t> ublk_number(std::string_view path) {
  for (const std::string_view prefix : {"/dev/ublkb", "/dev/ublkc"}) {
    if (path.starts_with(prefix)) return number_in(path.substr(prefix.size()));
  }
  return std::nullopt;
}

// O_PATH does not open the file, and statx() uses cached attributes: a stopped or dead server does
// not block this.
Result<Found> look(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!file.valid()) return fail(errno, std::system_category().message(errno));
  struct statx status{};
  if (statx(file.number(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0) {
    return fail(errno, std::system_category().message(errno));
  }
  std::error_code error;
  Found found{.path = fs::read_symlink(fmt::format("/proc/self/fd/{}", file.number()), error),
              .mode = status.stx_mode,
              .device = makedev(status.stx_rdev_major, status.stx_rdev_minor)};
  if (error) return fail(error.value(), error.message());
  return found;
}

// "loop0", independent of the name and place of the node.
Result<std::string> kernel_name(const Found& node, std::string_view word) {
  const fs::path entry = fmt::format("/sys/dev/{}/{}:{}", S_ISBLK(node.mode) ? "block" : "char",
                                     major(node.device), minor(node.device));
  std::error_code error;
  const fs::path device = fs::read_symlink(entry, error);
  if (error) return fs::path(node.path).filename();
  if (fs::exists(entry / "partition", error)) {
    return fail(ENODEV, fmt::format("{} is a partition: name its device, /dev/{}", shown(word),
                                    device.parent_path().filename().native()));
  }
  return device.filename();
}

std::unexpected<Error> is_none(std::string_view word) {
  return fail(ENODEV, fmt::format("there is no device {}: 'sluice list' shows all", shown(word)));
}

}  // namespace
}  // namespace sluice
