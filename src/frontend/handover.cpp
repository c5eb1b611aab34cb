#include "frontend/handover.hpp"

#include <fmt/format.h>

#include <cerrno>

#include "spec/json_value.hpp"

namespace sluice {
namespace {

constexpr std::string_view kVersionKey = "handover_version";

}  // namespace

void note_handover_version(JsonValue& message) { message.set(kVersionKey, kHandoverVersion); }

Result<uint32_t> handover_version_of(const JsonValue& message) {
  const auto version = message.value(kVersionKey, kHandoverVersionUnsaid);
  if (version <= kHandoverVersion) return version;
  return fail(EOPNOTSUPP, fmt::format("the server is of a younger sluice, which hands over in "
                                      "version {}, and this one knows up to {}: use that sluice, "
                                      "or delete the device and add it again",
                                      version, kHandoverVersion));
}

}  // namespace sluice
