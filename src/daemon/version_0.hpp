// The handover from a server of the first release, which speaks version 0
// (docs/formats/handover.md).
//
// Such a server passes no files and has no words for a preparation. So its successor copies its
// open files from its process, reads the record from the state directory, and prepares everything
// but the front end. The server then closes its stack, and gets the device back with `take_back`,
// or if its successor ends. It ends by itself once the record names the successor.
//
// Used by the control thread of the new server.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.hpp"
#include "daemon/control_answer.hpp"
#include "daemon/device.hpp"

namespace sluice {

// Everything that is needed to prepare; the server does not notice. ESTALE: a path of the spec now
// leads to another file than the one that is served; EOPNOTSUPP: the data is in the memory of the
// server, or the server cannot be seen from here; EPERM: its files may not be copied.
Result<DeviceOffer> offer_of_version_0(uint32_t id);

// What it has let go of, from its reply to `hand_over`, and its manager_socket(). `record` is that
// of the offer. EAGAIN: the device was resized since.
Result<DeviceHandover> handover_of_version_0(const DeviceRecord& record, ControlReply reply,
                                             std::string& manager);

// Once the device is served here.
void await_end_of_version_0(const DeviceRecord& record);

}  // namespace sluice
