// The commands of a device's control socket:
//
//   stat {"buckets": true}       its statistics since it started, in total and by queue
//   inspect                      every request in flight, its place in the stack, and the jobs
//   nodes                        the targets of the stack, with their paths and verbs
//   stop {"force": true}         stops the device; without force EBUSY while it is in use
//   resize {"size_bytes": N}     without a size: the current size of the backing
//   control {"path": "/0", "verb": "..."}    see target/verb.hpp; with the files of its children
//   quiesce, begin_handover ...  see handing_over.hpp
//
// The first three are answered on the socket's thread; the others change the device, and the
// control thread executes them, while the socket's thread continues. The socket is destroyed before
// the device.
#pragma once

#include "daemon/control_commands.hpp"
#include "daemon/device.hpp"
#include "daemon/mailbox.hpp"

namespace sluice {

ControlCommands device_commands(const Device& device, Mailbox& mailbox);

// Carries out `resize` or `control`, for the control thread. Throws JsonMismatch.
Result<ControlReply> change_device(Device& device, Letter& letter);
// Makes the device as large as what it is made of. What fails is only logged.
void follow_growth(Device& device);

}  // namespace sluice
