// Qcow2Run: a qcow2 target on a VolatileDisk, under random requests, checked against the oracle.
//
// The power is cut at random moments: what is on the disk then must be sound, and have the flushed
// contents or newer ones. That is examined here, of one cut in several by QEMU as well, and the
// image is served again for a while. The requests never overlap, but often share clusters.
// Snapshots are taken, deleted and applied meanwhile, and the image is committed to its backing
// file, in which the disk may go on.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "model/block_oracle.hpp"
#include "model/qcow2_image.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"
#include "target/control_call.hpp"
#include "target/life/jobs.hpp"
#include "target/life/life_call.hpp"
#include "target/qcow2/chain.hpp"

namespace sluice::test {

struct Qcow2Counts {
  size_t cuts = 0;
  size_t judged = 0;  // by QEMU
  size_t requests = 0;
  size_t failed = 0;  // of them
  size_t verbs = 0;   // for snapshots, which have succeeded
  size_t commits = 0;
  size_t pivots = 0;
  size_t commit_cuts = 0;  // of the cuts, between begin and end of a commit
};

class Qcow2Run {
 public:
  using Bytes = std::vector<std::byte>;

  struct Setup {
    const WorkFolder& folder;
    Qcow2Image image;
    Qcow2Counts& counts;
    uint64_t fails_each = 0;  // of so many requests of the disks one fails; 0: none does
    bool may_leak = false;    // the image may have leaks already
    int cuts = 0;             // at most
    int events = 2400;        // that they are spread over
    bool commits = false;     // no snapshots, which would prevent a commit, before the pivot
    size_t qemu_each = 1;     // which of the cuts QEMU examines, and are served again
    int depth = 0;            // how many cuts were before
  };

  // What is on the disks, in whole blocks.
  struct Content {
    Bytes image;
    Bytes data;     // of the external data file, if there is one
    Bytes backing;  // of the backing file, likewise
  };

  Qcow2Run(const Setup& setup, uint64_t seed, const Content& content, BlockOracle oracle);
  ~Qcow2Run();

  // Serves the image for so many steps, then stops.
  void run(int steps);
  // Only starts it, reads the disk, and stops.
  Bytes look();

 private:
  // A change of the snapshots that runs, or has failed, so that it may have happened or not.
  struct Verb {
    std::string verb;
    std::string name;
    BlockOracle before;  // of the disk, when it began
    Bytes content;       // of the snapshot, unless it is being taken
  };
  struct Cut {
    BlockOracle oracle;
    Content content;
    Qcow2Image image;
    std::vector<Verb> verbs;
  };
  struct Running;
  struct RunningVerb;

  std::unique_ptr<VolatileDisk> make_disk(const Bytes& bytes);
  std::unique_ptr<Target> open_below(const Bytes& bytes) const;
  std::unique_ptr<Target> open_backing(bool writable) const;
  Content left_on_disks(VolatileDisk::Left left);
  void write_files(const std::string& name, const Content& content) const;
  void set_failures(const std::function<int(const Request&, const VolatileDisk&)>& fails);
  void start_target();
  void stop_target();
  void perform_until(const Task& task);
  Bytes read_all();
  void step();
  void start();
  Op random_op();
  bool choose_range(Running& running);
  void collect();
  void end(Running& ended);
  void maybe_cut();
  int events_to_cut();
  void check_next();
  Bytes examine(Cut& cut, bool by_qemu);
  int failure_of(const Request& request, const VolatileDisk& disk);
  // --- Snapshots (qcow2_run_verbs.cpp).
  void maybe_start_verb();
  void start_verb(const std::string& verb, std::string name, Bytes content);
  void collect_verb();
  void take_effect(const Verb& ended);
  void begin_apply(std::span<const std::byte> content);
  void check_uncertain(const std::string& name, std::vector<Verb>& verbs, Qcow2Image& image);
  // --- Committing (qcow2_run_commit.cpp).
  bool is_committing() const;
  void maybe_commit();
  void start_commit(const std::string& flag);
  void collect_commit(const RunningVerb& ended);
  Status publish();
  void cut_often();

  const Setup setup_;
  std::mt19937_64 random_;
  Power power_;
  ManualRing ring_;
  Jobs jobs_;
  BlockOracle oracle_;
  const bool may_fail_;
  bool has_lost_ = false;  // a failed flush may have lost what was written before
  int until_cut_ = 0;      // events
  int cuts_left_ = 0;
  std::vector<Cut> cuts_;  // to be checked
  const std::unique_ptr<VolatileDisk> disk_;
  const std::unique_ptr<VolatileDisk> data_;     // null: no external data file
  const std::unique_ptr<VolatileDisk> backing_;  // likewise
  const Descriptor backing_file_;                // what it is known by
  std::unique_ptr<qcow2::Chain> target_;
  std::vector<std::unique_ptr<Running>> running_;
  Qcow2Image image_;  // with the present snapshots
  std::unique_ptr<RunningVerb> verb_;
  std::vector<Verb> uncertain_;  // the one that runs, and those that have failed
  int new_snapshots_ = 0;
};

}  // namespace sluice::test
