// The messages of a handover between two servers, as values and as JSON of the control socket.
// docs/formats/handover.md describes all versions.
//
// Pure functions, safe on any thread. The parsing functions throw JsonMismatch if a member is
// missing or has another type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "daemon/process_life.hpp"
#include "frontend/handover.hpp"
#include "spec/json_value.hpp"
#include "target/stack.hpp"

namespace sluice {

// The request of begin_handover, from the next server.
struct HandoverRequest {
  ProcessMark successor;
};
JsonValue to_json(const HandoverRequest& request);
// Accepts the message of a newer server, too: it understands ours.
HandoverRequest handover_request_from(const JsonValue& message);

// The reply to begin_handover.
struct HandoverOffer {
  uint32_t version = kHandoverVersion;  // of the sender's messages
  std::string record;                   // the text of its file
  std::string frontend_state;           // see Frontend::handover_state()
  size_t files = 0;                     // number of open files of the stack
  std::vector<MissingNode> missing{};   // targets without files
  std::string manager;                  // see manager_socket()
};
JsonValue to_json(const HandoverOffer& offer);
// EOPNOTSUPP: the server is newer.
Result<HandoverOffer> handover_offer_from(const JsonValue& message);

// The request of pass_files, for the files from index `from` on.
JsonValue files_request(size_t from);
size_t files_wanted_from(const JsonValue& message);

// The reply to hand_over, which also carries descriptors.
struct GivenDevice {
  std::string frontend_state;
  bool stack_failed = false;           // see Stack::failed()
  std::vector<size_t> failed_disks{};  // see DeviceHandover
};
JsonValue to_json(const GivenDevice& given);
// EOPNOTSUPP: the server is newer.
Result<GivenDevice> given_device_from(const JsonValue& message);

}  // namespace sluice
