// Frontend: serves a stack to the kernel as one block device or one file, on threads of its own.
//
// This is the control path's view of it; how requests come in is each front end's own affair
// (ublk/, fuse/). Made by the front end's own functions, which take its own options. Its calls come
// from the process's control thread, except stop(), quiesce() and reports(), which any thread may
// call.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "frontend/handover.hpp"
#include "frontend/in_flight.hpp"
#include "frontend/queue_counters.hpp"

namespace sluice {

class Frontend {
 public:
  Frontend() = default;
  Frontend(const Frontend&) = delete;
  Frontend& operator=(const Frontend&) = delete;
  virtual ~Frontend() = default;

  // Starts the threads and makes path() answer.
  virtual Result<void> serve() = 0;
  // Returns when nothing is served any more, because of stop() or because the kernel said so.
  virtual void wait() = 0;
  // Makes wait() return: no new requests, those in flight are answered.
  virtual Result<void> stop() = 0;
  // The same, but EBUSY, and nothing has happened, while somebody uses what is served.
  virtual Result<void> stop_unless_busy() = 0;
  // Makes wait() return as stop() does, but the kernel keeps the device and all that comes for it,
  // for the next server. EOPNOTSUPP where kernel or front end cannot do that; the text says what to
  // do instead. Any thread.
  virtual Result<void> quiesce() {
    return fail(EOPNOTSUPP,
                "this front end cannot be handed to another process: detach and attach");
  }
  // After quiesce() and wait(): returns when another server, here or elsewhere, can take the device
  // over, with what it needs. It still has to wait for the stack to be closed, which holds the
  // locks on the files. After this only the destructor may be called.
  virtual Result<Handover> let_go() { return Handover(); }
  // After wait(): gives back what the kernel still holds (an id, a mount).
  virtual Result<void> remove() = 0;

  // Tells the kernel that the stack now has this size, in bytes. EOPNOTSUPP where kernel or front
  // end cannot change it.
  virtual Result<void> resize(uint64_t size_bytes) = 0;

  // What the user opens: /dev/ublkb0, or the file that was asked for.
  virtual std::string path() const = 0;
  // How the bytes of a request reach the server, and why not in a better way (or nothing).
  virtual std::string mode_name() const = 0;
  virtual std::string mode_reason() const = 0;
  // Per queue, in order.
  virtual std::vector<QueueReport> reports() const = 0;
  // Requests that are not yet answered, by queue; any thread may ask.
  virtual Result<std::vector<InFlight>> in_flight() const {
    return fail(EOPNOTSUPP, "this front end cannot tell which requests are in flight");
  }
};

}  // namespace sluice
