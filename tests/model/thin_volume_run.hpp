// ThinVolumeRun: volumes of a thin pool on VolatileDisks, under random requests, checked against
// oracles.
//
// Two volumes of one pool are served; snapshots of both are taken and deleted meanwhile. The pool
// is small, and is full now and then. The power is cut at random moments: then the metadata is
// without a fault or a leak, the volumes have their flushed contents or newer ones, and the
// snapshots exactly what they were taken of, all of it at one moment. What is left is served again
// for a while.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "model/block_oracle.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"
#include "support/work_folder.hpp"
#include "target/control_call.hpp"
#include "target/life/jobs.hpp"
#include "target/thin/thin_target.hpp"

namespace sluice::test {

struct ThinVolumeCounts {
  size_t cuts = 0;
  size_t judged = 0;  // by thin_check
  size_t requests = 0;
  size_t failed = 0;  // of them, for want of space or of a disk
  size_t snapshots = 0;
  size_t deletions = 0;
};

class ThinVolumeRun {
 public:
  using Bytes = std::vector<std::byte>;
  static constexpr size_t kVolumes = 2;  // that are served

  struct Shape {
    uint64_t data_blocks = 64;
    uint64_t metadata_blocks = 160;
    uint64_t volume_blocks = 100;
    uint64_t fails_each = 0;  // of so many requests of the disks one fails; 0: none does
  };
  struct Setup {
    Shape shape;
    const WorkFolder& folder;
    ThinVolumeCounts& counts;
    int cuts = 0;   // at most
    int depth = 0;  // how many cuts were before
  };
  struct Disks {
    Bytes metadata;
    Bytes data;
  };
  // What a snapshot has. Unknown: it was being taken, or deleted, at a cut.
  using Snapshots = std::map<uint64_t, Bytes>;
  struct State {
    Disks disks;
    std::vector<BlockOracle> oracles;
    Snapshots snapshots = {};
  };

  // A new pool.
  static State make(const Shape& shape);

  ThinVolumeRun(const Setup& setup, uint64_t seed, State state);
  ~ThinVolumeRun();

  void run(int steps);

 private:
  // A verb that runs, or has failed, so that it may have happened or not.
  struct Verb {
    bool takes = false;  // otherwise it deletes
    uint64_t id = 0;
    size_t volume = 0;                     // of which the snapshot is taken
    std::vector<BlockOracle> before = {};  // of that volume, when it began: one
    Bytes content = {};                    // of the snapshot that is deleted
  };
  struct Cut {
    State state;
    std::optional<Verb> verb;
  };
  struct Running;
  struct RunningVerb;
  // A pool and the volumes that are served of it.
  struct Served;

  void start_pool();
  void stop_pool();
  void perform_until(const Task& task);
  Bytes read_all(Target& target, uint64_t bytes);
  Bytes read_snapshot(uint64_t id);
  void step();
  void start();
  bool choose_range(Running& running);
  void collect();
  void end(Running& ended);
  void maybe_start_verb();
  void collect_verb();
  void check_new_snapshot(const Verb& verb, const Bytes& found);
  int failure_of(const Request& request);
  void maybe_cut();
  int events_to_cut();
  void check_next();
  void examine(const Disks& disks);
  std::vector<uint64_t> ids();

  const Setup setup_;
  std::mt19937_64 random_;
  Power power_;
  ManualRing ring_;
  Jobs jobs_;
  State state_;
  bool has_lost_ = false;  // a flush has failed: what was written before may be gone
  int until_cut_ = 0;
  int cuts_left_ = 0;
  std::vector<Cut> cuts_;
  std::unique_ptr<VolatileDisk> metadata_;
  std::unique_ptr<VolatileDisk> data_;
  std::unique_ptr<Served> served_;
  std::vector<std::unique_ptr<Running>> running_;
  std::unique_ptr<RunningVerb> verb_;
  std::optional<Verb> uncertain_;
  uint64_t next_id_ = 10;
};

}  // namespace sluice::test
