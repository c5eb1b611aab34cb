// mirror: RAID 1. Every write goes to all legs, from the same pages; a read to one of them.
//
// A region is marked as dirty on all legs, durably, before it is written on any. A leg that fails
// leaves durably before anything is acknowledged without it. See docs/MIRROR.md.
// Order of locks: ranges_, the mutex of a block of intents_, membership_ (its mutex).
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "ring/range_lock.hpp"
#include "spec/spec.hpp"
#include "target/mirror/intents.hpp"
#include "target/mirror/leg_parts.hpp"
#include "target/mirror/legs.hpp"
#include "target/mirror/membership.hpp"
#include "target/mirror/mirror_options.hpp"
#include "target/mirror/taking.hpp"
#include "target/target.hpp"

namespace sluice::mirror {

class Mirror final : public Target {
 public:
  Mirror(Children legs, const Spec& spec, const MirrorOptions& options);
  ~Mirror() override;

  bool is_living() const override { return true; }
  bool starts_children() const override { return true; }
  Task start(Request& request, LifeCall& call) override;
  Task attach(Request& request, LifeCall& call) override;
  Task detach(Request& request, LifeCall& call) override;
  Task stop(Request& request, LifeCall& call) override;
  Task control(Request& request, ControlCall& call) override;
  Health health() const override;
  std::vector<Target*> named_children() const override;

 private:
  class Resync;
  class Scrub;
  class Sweep;
  class WriteBehind;

  Task do_submit(Request& request) override;
  Task do_extents(Request& request, Extents& found) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;

  Members members() const { return legs_.members(); }
  // The written legs that get writes later.
  LegSet later(Members now) const { return now.behind() & options_.write_behind; }
  size_t number_of(size_t index) const { return legs_.number_of(index); }
  Leg& leg(size_t index) const { return legs_[index]; }
  Request part_for(const Request& request, size_t index) const;  // for the data of a leg

  // --- children.cpp, starting.cpp
  Task start_children(Request& request, LifeCall& call);
  Task stop_children(Request& request, LifeCall& call);
  Task detach_first(Request& request, LifeCall& call, size_t count);
  Task assemble(Request& request, LifeCall& call);
  Task read_leg(Request& request, size_t index, PresentLeg& found, std::string& why);
  Task read_intents(Request& request, size_t index, PresentLeg& found);
  Status refuse_degraded(const Decision& decision, std::string_view advice, LifeCall& call) const;
  void set_geometry(const Decision& decision);
  Task take_up(Request& request, LifeCall& call, Assembled found);
  void name_missing(const LegRecord& record);
  void note_differences(Assembled& found, Members members);
  Task record_start(Request& request);
  Task write_all_intents(Request& request, size_t index);
  Task start_resync(Request& request);

  // --- reading.cpp
  Task read(Request& request);
  Task read_from(Request& request, size_t index);
  Task read_elsewhere(Request& request, size_t failed, Status status);
  Task read_by_regions(Request& request);
  Task repair(Request& request, size_t index);
  bool is_unequal(const Request& request) const;
  Task equalise(Request& request);
  Task copy(Request& request, LegSet targets, std::span<std::byte> buffer);
  size_t choose(uint64_t offset, uint64_t length, LegSet among) const;  // kMostLegs: none has it
  bool is_readable(size_t index, Members now, uint64_t first, uint64_t last) const;
  bool may_lag(size_t index, Members now) const;

  // --- writing.cpp
  Task write(Request& request);
  Task flush(Request& request);
  Task flush_leg(Request& request, size_t index);
  Task mark(Request& request, uint64_t first, uint64_t last);
  Task write_intents(Request& request, uint64_t block);
  Task conclude(Request& request, Members began, LegSet legs, LegParts& parts);
  Task write_to(Request& request, LegSet targets);
  Task zero_by_hand(Request& request, LegSet legs, LegSet& done);
  void note_unequal(const Request& request);
  void note_write_errors(LegSet failed);
  void note_losses(LegSet failed, const LegParts& parts);

  // --- joining.cpp
  Task join(Request& request, ControlCall& call, Joining joining);
  Task take_in(Request& request, ControlCall& call, const Joining& joining);
  Task look_at_leg(Request& request, ControlCall& call, Joining& joining);
  bool is_taken_over(const Joining& joining) const;
  Status look_at_old(ControlCall& call, Joining& joining) const;
  Status look_at_new(ControlCall& call, Joining& joining);
  Status check_room(ControlCall& call, const Joining& joining) const;
  void note_lacking(const Joining& joining);
  Task tell_others(Request& request, size_t index);

  // --- growing.cpp
  Result<void> check_may_grow() const;
  Result<uint64_t> grow_legs(std::optional<uint64_t> wanted);
  Result<void> check_bitmaps(uint64_t size_bytes) const;
  Task grow(Request& request, uint64_t size_bytes);
  void set_data_bytes(uint64_t size_bytes);

  // --- verbs.cpp
  Status find_leg(ControlCall& call, size_t& index) const;
  Task fail_leg(Request& request, ControlCall& call);
  Task readd(Request& request, ControlCall& call);
  Task add(Request& request, ControlCall& call, Joining joining);
  Task replace(Request& request, ControlCall& call);
  Task remove(Request& request, ControlCall& call);
  Task remove_absent(Request& request, ControlCall& call);
  Task forget(Request& request, ControlCall& call, Uuid leg);
  Task scrub(Request& request, ControlCall& call);
  Task change_resync(Request& request, ControlCall& call);
  Task empty(Request& request, ControlCall& call, size_t index);
  Status publish(ControlCall& call, LegSet named, const Spec* added);
  void set_legs(Spec& spec, std::string_view option, LegSet legs) const;

  const MirrorOptions options_;
  Legs legs_;
  Membership membership_{legs_};
  mutable std::mutex observed_;  // health() reads what is changed under it
  Spec spec_;                    // control path only, as the next
  LegSet taking_ = 0;            // places for which there is a Taking
  // --- While it serves.
  std::unique_ptr<Intents> intents_;
  std::unique_ptr<WriteBehind> behind_;  // null: no leg gets writes later
  std::atomic<bool> has_lost_ = false;   // a flush has failed on the last leg
  RangeLock ranges_;
  std::unique_ptr<Resync> resync_;
  std::unique_ptr<Scrub> scrub_;
  std::unique_ptr<Sweep> sweep_;
  Jobs* jobs_ = nullptr;
  ControlReactor* control_ = nullptr;
};

}  // namespace sluice::mirror
