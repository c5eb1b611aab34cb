// The names of the files in the state directory, by device number.
//
// Pure functions, safe on any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

inline constexpr uint32_t kDeviceIdMax = 999'999'999;

// The events of all devices, see event_file.hpp.
inline constexpr const char* kEventsName = ".events";
inline constexpr const char* kOlderEventsName = ".events.1";

std::string record_name(uint32_t id);  // device-N.json
std::string log_name(uint32_t id);     // device-N.log
std::string socket_name(uint32_t id);  // device-N.sock
std::string end_name(uint32_t id);     // device-N.ended, see server_death.hpp
// All but the record, including the log's older part.
std::vector<std::string> names_beside_record(uint32_t id);

// Only device-N.json, with N in canonical form.
std::optional<uint32_t> id_of_record(std::string_view name);
// `rest` is the text after device-N, with its dot. nullopt: no file of a device.
struct DeviceFile {
  uint32_t id = 0;
  std::string_view rest;
};
std::optional<DeviceFile> parse_device_file(std::string_view name);

}  // namespace sluice
