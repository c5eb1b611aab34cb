// Membership: which legs hold the data, and what they durably say of each other.
//
// Each leg has the same record, but for what is of the leg itself (leg_record.hpp). Whatever
// changes the members of a mirror that is served does so here, under one mutex, and writes the
// record first where docs/formats/mirror.md ("Order of writes") wants it so.
#pragma once

#include "core/buffer.hpp"
#include "core/request.hpp"
#include "core/task.hpp"
#include "ring/async_mutex.hpp"
#include "target/mirror/leg_record.hpp"
#include "target/mirror/legs.hpp"
#include "target/mirror/taking.hpp"

namespace sluice::mirror {

class Membership {
 public:
  explicit Membership(Legs& legs) : legs_(legs) {}

  // --- While nothing else runs.
  // What the legs of a mirror that starts are to say. `write_behind`: legs that get writes later;
  // `read_only`: nothing is ever written.
  void begin(LegRecord record, LegSet write_behind, bool read_only);
  // The record as it is, to `legs`; `done`: those that have it.
  Task record_on(Request& request, LegSet legs, LegSet& done);
  // The array is clean, if all its legs are equal and `is_rested`: no region is dirty.
  Task record_end(Request& request, bool is_rested);

  // --- Any reactor.
  // `failed` legs leave. kOk: one of `good` is in sync afterwards, and all is durable.
  Task let_go(Request& request, LegSet failed, LegSet good);
  // Writes what could not be written at a request.
  Task settle_again(Request& request);

  // --- On the control reactor.
  Task read_record(Request& request, LegRecord& record);
  // Writes the record, as it is, to the legs in sync of `among`.
  Task tell_in_sync(Request& request, LegSet among, LegSet& done);
  // All legs of the array are written, and none of them may have lost anything.
  Task ask_whether_all_are_written(Request& request, bool& all);
  // A leg that others know to lack something is behind from now on. EIO: no leg in sync has it
  // durably.
  Task take_in(Request& request, const Joining& joining);
  // `legs` hold all that the others do, if nothing has happened to them since.
  Task promote(Request& request, LegSet legs);
  // Another owner has taken the array: nothing is written any more.
  Task fence(Request& request, const LegRecord& found);
  // Nothing is kept for this leg any more.
  Task forget(Request& request, Uuid leg);
  // The leg becomes a spare as soon as others suffice. EIO: no leg in sync could be told.
  Task mark_leaving(Request& request, Uuid leg);
  // If enough others are in sync, legs that are to leave, and those that are away, become spares.
  Task retire(Request& request);
  // All that are written say that the array is so large. EBUSY: a leg is away; EIO: none could be
  // told.
  Task grow(Request& request, uint64_t data_bytes);
  // How many legs are missing: neither in sync nor being copied to.
  Task ask_how_many_lack(Request& request, size_t& lacking);

 private:
  bool all_are_written() const;
  LegSet complete() const { return legs_.members().in_sync() | legs_.following(); }
  LegSet leaving() const;
  bool suffices(LegSet legs) const;
  void note_rows();
  Task begin_anew(Request& request, Members now);
  void leave_to(LegSet leaving, Members now);
  Task settle(Request& request);
  void begin_generation(Members now);
  Buffer payload_for(size_t index) const;
  Task write_record(Request& request, size_t index);
  Task format_record(Request& request, size_t index);

  Legs& legs_;
  AsyncMutex mutex_;
  LegSet write_behind_ = 0;
  bool read_only_ = false;
  LegRecord record_;  // what is the same on all legs
  LegSet told_ = 0;   // its generation was begun for these, and is not on all of them yet
};

}  // namespace sluice::mirror
