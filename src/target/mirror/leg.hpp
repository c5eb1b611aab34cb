// Leg: one child of a mirror, and what the mirror knows of it.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "target/life/replaceable_child.hpp"
#include "target/metadata/superblock.hpp"
#include "target/mirror/leg_record.hpp"
#include "target/mirror/members.hpp"
#include "target/mirror/stale_map.hpp"

namespace sluice::mirror {

// A leg whose medium has a fault can be written again; with any other error it is not there.
constexpr bool is_of_the_medium(Status status) {
  const int error = status.error();
  return error == EIO || error == ENODATA || error == EILSEQ || error == ENOSPC || error == EDQUOT;
}

// A leg that is attached, holds no data, and may come in for another one.
enum class Standby : uint8_t {
  no,
  spare,
  replaced,  // at the user's word only
};

struct Leg {
  Leg(Target& mirror, size_t index) : child(mirror, index) {}

  // A read is at the leg.
  class Reading {
   public:
    explicit Reading(Leg& leg) : leg_(leg) { leg_.reads.fetch_add(1, std::memory_order_relaxed); }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;
    ~Reading() { leg_.reads.fetch_sub(1, std::memory_order_relaxed); }

   private:
    Leg& leg_;
  };

  ReplaceableChild child;
  std::string label;  // its spec, for users

  // --- Set when it joins, with no request in flight.
  Uuid id;
  LegPlaces places;
  uint64_t leg_bytes = 0;
  std::unique_ptr<Superblock> superblock;  // null: it has never joined
  std::unique_ptr<StaleMap> stale;         // null likewise
  std::vector<uint64_t> intents;           // its bitmap, as it was read
  Uuid written_as;                         // the leg here that has got the token of this server

  // --- Any thread.
  alignas(64) std::atomic<uint32_t> reads = 0;  // in flight
  std::atomic<uint64_t> read_errors = 0;
  std::atomic<uint64_t> write_errors = 0;
  std::atomic<uint64_t> repairs = 0;
  // A flush has failed: it may have lost what it has acknowledged, and is not read any more.
  std::atomic<bool> has_lost = false;
  std::atomic<Standby> standby = Standby::no;
  // It has left by itself, not at the user's word: it may come back.
  std::atomic<bool> may_return = false;
  // A thread of the device could not attach it: nobody takes it back until it is given again.
  std::atomic<bool> is_unattached = false;

  // Only the user can bring it back.
  bool is_missing(const Target& target) const {
    return is_unattached || target.missing() != nullptr;
  }
};

}  // namespace sluice::mirror
