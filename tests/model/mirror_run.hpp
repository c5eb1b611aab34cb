// MirrorRun: a mirror of VolatileDisks under random requests, checked against the oracle, while
// legs fail, come back, are let go and compared.
//
// The power of all legs is cut at random moments. What is on them then is assembled again, has the
// flushed contents or newer ones, and is served for a while; in the end all legs in sync hold the
// same.
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "model/block_oracle.hpp"
#include "model/mirror_disks.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"
#include "target/control_call.hpp"
#include "target/life/jobs.hpp"
#include "target/mirror/mirror.hpp"

namespace sluice::test {

struct MirrorCounts {
  size_t cuts = 0;
  size_t requests = 0;
  size_t failed = 0;  // of them
  size_t deaths = 0;  // of legs
  size_t lost_legs = 0;
  size_t restarts = 0;  // because flushes of all legs had failed
  size_t verbs = 0;     // that have succeeded
};

class MirrorRun {
 public:
  using Bytes = std::vector<std::byte>;

  struct Setup {
    MirrorShape shape;
    MirrorCounts& counts;
    int cuts = 0;   // at most
    int depth = 0;  // how many cuts were before
  };

  MirrorRun(const Setup& setup, uint64_t seed, const std::vector<Bytes>& legs, BlockOracle oracle);
  ~MirrorRun();

  // Serves the array for so many steps, lets it become whole, and stops it.
  void run(int steps);

 private:
  struct Cut {
    BlockOracle oracle;
    std::vector<Bytes> legs;
  };
  struct Running;
  struct ModelLeg {
    VolatileDisk* disk = nullptr;
    int error = 0;  // of all requests; 0: it lives
  };
  struct RunningVerb {
    RunningVerb(Ring& ring, size_t leg_number) : life(ring), number(leg_number) {}
    LifeRequest life;
    ControlCall call;
    size_t number;                  // of the leg in legs_
    std::unique_ptr<ModelLeg> leg;  // that is added
    Bytes contents;                 // of the one that is removed
    std::optional<Task> task;
  };

  std::pair<std::unique_ptr<ModelLeg>, std::unique_ptr<VolatileDisk>> make_leg(
      const Bytes& contents);

  void start_mirror();
  void stop_mirror();
  void perform_until(const Task& task);
  void perform_one();
  Bytes read_all();
  int flush_all();
  void step();
  void start();
  bool choose_range(Running& running);
  void collect();
  void end(Running& ended);
  void note_read(uint64_t offset, const Bytes& bytes);
  void judge_reads();
  void change_legs();
  void start_verb(const std::string& name, size_t number, const std::string& leg_text = {});
  void forget_lost_leg();
  void collect_verb();
  void make_whole();
  int failure_of(const ModelLeg& leg, const Request& request);
  bool is_whole() const;
  std::vector<Bytes> left_on_legs(VolatileDisk::Left left);
  void maybe_cut();
  int events_to_cut();
  void check_next();
  std::pair<mirror::Decision, std::vector<mirror::PresentLeg>> decide_on(
      const std::vector<Bytes>& legs) const;
  void lose_a_leg(std::vector<Bytes>& legs);
  void damage_a_bitmap(Bytes& leg);
  void compare_legs();

  const Setup setup_;
  std::mt19937_64 random_;
  Power power_;
  ManualRing ring_;
  BlockOracle oracle_;
  int until_cut_ = 0;
  int cuts_left_ = 0;
  std::vector<Cut> cuts_;
  std::vector<std::unique_ptr<ModelLeg>> legs_;  // in the order of the spec
  std::vector<std::unique_ptr<ModelLeg>> gone_;  // their disks may have requests still
  Bytes removed_;                                // what was on a leg that was removed last
  uint64_t added_ = 0;
  int failures_in_ = 0;  // of single requests; 0: none
  std::string wrong_;    // what was read, the first time
  Jobs jobs_;
  std::unique_ptr<mirror::Mirror> mirror_;
  std::vector<std::unique_ptr<Running>> running_;
  std::unique_ptr<RunningVerb> verb_;
};

}  // namespace sluice::test
