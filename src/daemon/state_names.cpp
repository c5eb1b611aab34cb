#include "daemon/state_names.hpp"

#include <fmt/format.h>

#include <charconv>

namespace sluice {
namespace {

constexpr std::string_view kPrefix = "device-";
constexpr std::string_view kRecord = ".json";
constexpr std::string_view kLog = ".log";
constexpr std::string_view kOlderLog = ".1.log";  // spdlog's name
constexpr std::string_view kSocket = ".sock";
constexpr std::string_view kEnd = ".ended";

std::string name_of(uint32_t id, std::string_view rest) {
  return fmt::format("{}{}{}", kPrefix, id, rest);
}

}  // namespace

std::string record_name(uint32_t id) { return name_of(id, kRecord); }

std::string log_name(uint32_t id) { return name_of(id, kLog); }

std::string socket_name(uint32_t id) { return name_of(id, kSocket); }

std::string end_name(uint32_t id) { return name_of(id, kEnd); }

std::vector<std::string> names_beside_record(uint32_t id) {
  return {log_name(id), name_of(id, kOlderLog), socket_name(id), end_name(id)};
}

std::optional<uint32_t> id_of_record(std::string_view name) {
  const auto file = parse_device_file(name);
  if (!file || file->rest != kRecord) return std::nullopt;
  return file->id;
}

std::optional<DeviceFile> parse_device_file(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  DeviceFile file;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), file.id);
  const auto length = static_cast<size_t>(stop - name.data());
  if (error != std::errc() || file.id > kDeviceIdMax) return std::nullopt;
  if (fmt::format("{}", file.id) != name.substr(0, length)) return std::nullopt;  // 007
  file.rest = name.substr(length);
  return file;
}

}  // namespace sluice
