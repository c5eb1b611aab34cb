// Frontend: serves a stack to the kernel as one block device or one file, on threads of its own.
//
// This is the interface for the control path; each front end receives requests in its own way
// (ublk/, fuse/), and has its own functions and options to make it. Called by the control thread of
// the device, except reports() and in_flight(), which any thread may call. The keeper makes all
// calls that may block on the device itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "frontend/handover.hpp"
#include "frontend/keeper/keeper.hpp"
#include "frontend/named_values.hpp"
#include "reactor/in_flight.hpp"
#include "reactor/queue_counters.hpp"
#include "reactor/reactor.hpp"

namespace sluice {

// Told when has_ended() or has_paused() may have changed; on any thread. It only takes a note.
class FrontendListener : public ReactorListener {
 public:
  virtual void frontend_changed() = 0;
  void reactor_changed() final { frontend_changed(); }

 protected:
  ~FrontendListener() = default;
};

class Frontend {
 public:
  Frontend() = default;
  Frontend(const Frontend&) = delete;
  Frontend& operator=(const Frontend&) = delete;
  virtual ~Frontend() = default;

  // Starts the threads and acquires everything that may be refused. Does not serve yet. Listener
  // and keeper outlive the front end.
  virtual Result<void> prepare(FrontendListener& listener, Keeper& keeper) = 0;
  // Starts to serve: path() can be opened afterwards.
  virtual Result<void> serve() = 0;
  // True when the front end no longer serves, after stop() or by the kernel's decision.
  virtual bool has_ended() const = 0;
  // Replaces a keeper that has died. Error: the device disappeared with it.
  virtual Result<void> change_keeper(Keeper& keeper) = 0;

  // Writes back the kernel's cached data, answers requests in flight and accepts no new ones; users
  // of the device get errors. Unless `even_if_used`, a device in use is EBUSY, and does not change.
  // At the end has_ended() is true. May be called again.
  virtual Result<void> stop(bool even_if_used) = 0;
  // Afterwards: releases what the kernel still holds (an id, a mount).
  virtual Result<void> remove() = 0;

  // --- Handover to another process. EOPNOTSUPP, with advice: the kernel or front end does not
  // support it.
  virtual Result<void> check_handover() const = 0;
  // The state that the other process needs for prepare().
  virtual std::string handover_state() { return {}; }
  // Accepts no new requests; the kernel keeps them. Later has_paused() is true. Acquires everything
  // that resume() needs, or fails without effect.
  virtual Result<void> pause() = 0;
  virtual bool has_paused() const = 0;
  // After has_paused(): releases the connections to the kernel for the other process.
  virtual Result<Handover> let_go() = 0;
  // Serves again, if no other process has taken over. EBUSY: has_paused() is still false.
  virtual Result<void> resume() = 0;
  // The other process serves now: only the destructor may be called afterwards.
  virtual void leave() = 0;
  // In the other process, before serve(): takes the result of let_go().
  virtual Result<void> take(Handover handover) = 0;
  // Called once this is the only server.
  virtual void settle() {}

  // Tells the kernel the stack's new size, in bytes. EOPNOTSUPP: the kernel or front end cannot
  // change it.
  virtual Result<void> resize(uint64_t size_bytes) = 0;

  // The values that it keeps in the record of its device, see FrontendType::traces.
  virtual NamedValues traces() const { return {}; }

  // The path for users: /dev/ublkb0, or the requested file.
  virtual std::string path() const = 0;
  // The mode, and why a better one is not possible, or empty.
  virtual std::string mode_name() const = 0;
  virtual std::string mode_reason() const = 0;
  // Per queue, in order.
  virtual std::vector<QueueReport> reports() const = 0;
  // The unanswered requests, by queue.
  virtual Result<std::vector<InFlight>> in_flight() const = 0;
};

}  // namespace sluice
