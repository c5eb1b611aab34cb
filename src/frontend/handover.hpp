// Handover: the part of a front end that a server passes to the next server of its device; and the
// version of the handover messages.
//
// The two servers usually have different versions of this program: the newer server understands the
// messages of the older one. docs/formats/handover.md describes the messages of all versions.
// Values of the control path.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice {

struct JsonValue;

inline constexpr uint32_t kHandoverVersion = 2;
// The version of messages that do not name one.
inline constexpr uint32_t kHandoverVersionUnsaid = 1;

// Adds the version of this program's messages.
void note_handover_version(JsonValue& message);
// The version of a message. EOPNOTSUPP: it is newer than this program, with advice. Throws
// JsonMismatch.
Result<uint32_t> handover_version_of(const JsonValue& message);

// Passed beside the device's record and the files of the stack. Only the same type of front end
// understands it.
struct Handover {
  std::string state;                    // JSON; empty: the record is enough
  std::vector<Descriptor> descriptors;  // the connections to the kernel
};

}  // namespace sluice
