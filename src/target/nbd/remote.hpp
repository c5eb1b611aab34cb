// Remote: what all connections of a target share: the export as it was promised to the clients,
// which acknowledged writes may be lost, and how the connections are.
//
// Any thread. The data path touches atomics only.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/geometry.hpp"
#include "core/health.hpp"
#include "nbd/client_handshake.hpp"
#include "ring/ring.hpp"
#include "target/nbd/options.hpp"
#include "target/target.hpp"

namespace sluice::nbd::client {

class Remote {
 public:
  using Agreement = ClientHandshake::Agreement;

  // `target` is named in logs and events.
  Remote(Options options, const Target& target) : options_(std::move(options)), target_(target) {}

  const Options& options() const { return options_; }
  // The first server, for messages.
  const std::string& name() const { return options_.servers.front().text; }

  // The first agreement is the promise; before any request. EINVAL, with a sentence: the export
  // cannot be a device.
  Result<void> promise(const Agreement& agreed, bool read_only);
  const Agreement& promised() const { return promised_; }
  bool has_promised() const { return promised_.size != 0; }
  const Geometry& geometry() const { return geometry_; }
  // Why a later connection is weaker than the promise; empty: it is not.
  std::string weakness(const Agreement& agreed) const;
  bool may_have_several() const { return (promised_.flags & kCanMultiConn) != 0; }

  // --- Writes that may be lost with the server's machine. A write that is durable by itself is not
  // counted. Called before the client gets the answer.
  void count_write() { written_.fetch_add(1, std::memory_order_relaxed); }
  // Of a flush, before it is sent.
  struct Mark {
    uint64_t written = 0;
    uint64_t losses = 0;
  };
  Mark mark() const { return {.written = written_, .losses = reported_}; }
  // Of a flush that has succeeded. False: writes before it may be lost. All flushes that were under
  // way at the loss are told so, later ones are not.
  bool conclude_flush(const Mark& mark);
  bool has_unflushed_writes() const { return written_ > durable_; }
  bool has_unreported_losses() const { return losses_ > reported_; }

  // --- The server that all connections use: a flush at one server says nothing of another. Each
  // loss begins an epoch; sessions of earlier ones are given up.
  struct Place {
    uint64_t epoch = 0;
    size_t server = 0;
  };
  Place place() const;
  // A new connection has found this server; those at another follow.
  void move_to(size_t server);
  uint64_t epoch() const { return epoch_.load(std::memory_order_relaxed); }

  // --- The end of the device: nobody is waited for any more. Any thread.
  void note_end();
  bool is_ending() const { return ending_.load(std::memory_order_relaxed); }
  // Runs on the ring of a connection, at most once, when that is so.
  struct EndNotice : Message {
    Ring& ring;
    bool posted = false;  // by a Remote that knows it

   protected:
    explicit EndNotice(Ring& its_ring) : ring(its_ring) {}
    ~EndNotice() = default;
  };

  // --- The state of the connections. Nothing is posted between disconnected() and connected().
  void connected(EndNotice& notice);
  void disconnected(EndNotice& notice);
  // `epoch`: of its session.
  void lost(std::string_view why, uint64_t epoch);
  // Requests have waited for the longest time.
  void given_up(std::string_view why);
  // At this server; returns the epoch of the new session.
  uint64_t restored(bool had_given_up, uint64_t repeated, const Place& at);
  // A lost connection is closed.
  void left(bool had_given_up);
  // Ends the target's life for good.
  void fail(std::string_view why);
  bool has_failed() const { return failed_.load(std::memory_order_relaxed); }
  Health health() const;

  // --- Counters of the data path.
  std::atomic<uint64_t> direct_bytes = 0;  // received into or sent from the lent pages
  std::atomic<uint64_t> copied_bytes = 0;  // received together with headers, and copied

 private:
  void tell();
  static void post(EndNotice& notice);
  Health state() const;

  Options options_;
  const Target& target_;
  Agreement promised_{};
  Geometry geometry_{};

  std::atomic<uint64_t> written_ = 0;
  std::atomic<uint64_t> durable_ = 0;   // of them, by flushes
  std::atomic<uint64_t> losses_ = 0;    // of writes that were not flushed
  std::atomic<uint64_t> reported_ = 0;  // of them, to clients
  std::atomic<uint64_t> epoch_ = 0;     // changed under mutex_

  std::atomic<bool> failed_ = false;
  std::atomic<bool> ending_ = false;
  std::atomic<uint32_t> connections_ = 0;  // the lost ones as well
  mutable std::mutex mutex_;               // guards the rest
  std::vector<EndNotice*> notices_;
  std::string why_;
  size_t server_ = 0;      // of the present epoch
  uint32_t lost_ = 0;      // connections that are being restored
  uint32_t given_up_ = 0;  // of them, those whose requests fail
  uint64_t reconnects_ = 0;
  uint64_t repeated_ = 0;
};

}  // namespace sluice::nbd::client
