// Records the death of a server once, by the first command that notices it.
//
// The link device-N.ended names the server whose end is known. It is created atomically, so that
// only one of several commands succeeds, and removed with the record.
#pragma once

#include "daemon/state.hpp"

namespace sluice {

// Records the event kServerDied for the server of this record, unless the server lives or its end
// is known already.
void note_server_death(const DeviceRecord& record);

// For a server that ends and leaves its device as it is: its end will not be recorded as a death.
void expect_server_end(const DeviceRecord& record);

// Call when the device has a new server.
void forget_server_end(uint32_t id);

}  // namespace sluice
