// Commit: what moves the data of the active image to its backing file, and what begins and ends
// that.
//
// From its begin to its end the backing file is open for writing, through another open file than
// before, which the command brings; nobody else may use it. A job goes over the disk until little
// is found to move. Then, with no request in flight, the rest is moved and the device goes on in
// the backing file; or the backing file is only read again.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "core/health.hpp"
#include "target/control_call.hpp"
#include "target/qcow2/chain.hpp"

namespace sluice::qcow2 {

class Chain::Commit final : public Job {
 public:
  static constexpr double kShare = 0.5;

  explicit Commit(Chain& chain) : Job("commit", kShare), chain_(chain) {}

  // --- On the control reactor.
  Task control(Request& request, ControlCall& call);
  // Of another change, meanwhile.
  Status refuse(ControlCall& call) const;
  // The chain stops: ends it, if it has begun. The job has ended.
  Task give_up(Request& request);

  // --- Any thread.
  bool is_begun() const { return begun_; }
  // Between the failure and the end. For a request that is served.
  bool is_failing() const;
  Health health() const;

 private:
  using Clock = ControlCall::Clock;

  // --- chain_commit.cpp
  Task begin(Request& request, ControlCall& call);
  Task cancel(Request& request, ControlCall& call);
  Task end_job(Request& request);
  Task step(Request& request) override;
  Task move_some(Request& request);
  Task end_passes(Request& request);
  Task give_up_for(Request& request, Status status);

  // --- chain_base.cpp
  Target& base() const { return *chain_.active().backing(); }
  Qcow2Target* base_image() const;  // null: it is raw
  Status check(ControlCall& call) const;
  Status check_base(ControlCall& call) const;
  Status check_pivot(ControlCall& call) const;
  Task open_base(Request& request, ControlCall& call);
  Task make_base(Request& request, ControlCall& call, std::unique_ptr<Target>& made);
  Task exchange_base(Request& request, std::unique_ptr<Target> next);
  Task grow_base(Request& request, ControlCall& call);
  Task close_base(Request& request);

  // --- chain_pivot.cpp
  Task pivot(Request& request, ControlCall& call);
  Task move_rest(Request& request, ControlCall& call, std::unique_ptr<Target>& left);
  Task pass(Request& request, Clock::time_point limit, uint64_t& moved);
  Task go_on_below(Request& request, ControlCall& call, std::unique_ptr<Target>& left);

  Chain& chain_;
  std::string base_path_;    // this and all up to pass_bytes_: control reactor only
  bool is_running_ = false;  // the job
  bool has_passed_ = false;  // over the whole disk, at least once
  uint64_t pass_bytes_ = 0;  // moved by this pass
  std::atomic<bool> begun_ = false;
  std::atomic<int> failure_ = 0;  // errno of the last run
  std::atomic<uint64_t> moved_bytes_ = 0;
  std::atomic<uint64_t> position_ = 0;  // of the pass, on the disk
};

}  // namespace sluice::qcow2
