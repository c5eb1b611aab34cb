// NbdTarget: an export of an NBD server.
//
// Each reactor has connections of its own if the server allows several (CAN_MULTI_CONN). Otherwise
// there is one in all, at the first reactor, its home: the others post their calls there, and data
// whose pages have no address in this process is copied. The control reactor does so as well;
// before the first reactor is attached and after the last is detached it borrows the session for
// one call at a time.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "core/page_pool.hpp"
#include "ring/async_mutex.hpp"
#include "ring/external_completion.hpp"
#include "ring/ring_local.hpp"
#include "target/life/life_call.hpp"
#include "target/nbd/connection.hpp"
#include "target/nbd/remote.hpp"
#include "target/target.hpp"

namespace sluice::nbd::client {

class NbdTarget final : public Target {
 public:
  NbdTarget(Options options, bool read_only);
  ~NbdTarget() override;

  bool is_living() const override { return true; }
  Task start(Request& request, LifeCall& call) override;
  Task attach(Request& request, LifeCall& call) override;
  Task detach(Request& request, LifeCall& call) override;
  Task stop(Request& request, LifeCall& call) override;
  void note_end() override { remote_.note_end(); }

  Health health() const override { return remote_.health(); }
  std::string swap_risk() const override;
  Result<void> check_handover() const override;

 private:
  struct OnRing final : RingResident {
    explicit OnRing(Ring& ring) : foreign(ring) {}

    std::vector<std::unique_ptr<Connection>> connections{};
    ExternalCount foreign;              // calls posted to the home
    std::unique_ptr<PagePool> pages{};  // for their data, if it has no address
  };

  Task do_submit(Request& request) override;
  Task do_extents(Request& request, Extents& found) override;

  Task perform(Request& request, Call& call);
  Task perform_elsewhere(Request& request, Call& call, OnRing& here);
  Task perform_by_address(Request& request, Call& call, OnRing& here);
  Task perform_alone(Request& request, Call& call);
  bool post_home(Call& call, ExternalCompletion& answer);
  RequestHeader header_of(const Request& request) const;
  Task open_session(Request& request, LifeCall& call, Session& session);
  Task dial_any(Request& request, std::chrono::nanoseconds time, Session& session,
                std::string& why);
  Task add_connections(Request& request, LifeCall& call, OnRing& here);

  const bool read_only_;
  Remote remote_;
  RingLocal<OnRing> on_ring_;
  const Ring* control_ring_ = nullptr;  // since the last start()

  AsyncMutex lease_;             // held while a session moves between rings; guards spares_
  std::vector<Session> spares_;  // open, and used by no connection
  std::mutex mutex_;             // guards home_
  Connection* home_ = nullptr;   // of calls from rings without a connection
};

}  // namespace sluice::nbd::client
