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
  size_t verbs = 0;   // that have succeeded
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
  struct RunningVerb;

  void start_mirror();
  void stop_mirror();
  void perform_until(const Task& task);
  void perform_one();
  Bytes read_all();
  void step();
  void start();
  bool choose_range(Running& running);
  void collect();
  void end(Running& ended);
  void note_read(uint64_t offset, const Bytes& bytes);
  bool has_lost();
  void change_legs();
  void start_verb(const std::string& text);
  void collect_verb();
  void make_whole();
  int failure_of(size_t leg, const Request& request);
  bool is_whole() const;
  std::vector<Bytes> left_on_legs(VolatileDisk::Left left);
  void maybe_cut();
  int events_to_cut();
  void check_next();
  void compare_legs();

  const Setup setup_;
  std::mt19937_64 random_;
  Power power_;
  ManualRing ring_;
  BlockOracle oracle_;
  int until_cut_ = 0;
  int cuts_left_ = 0;
  std::vector<Cut> cuts_;
  std::vector<VolatileDisk*> disks_;
  std::vector<bool> is_dead_;
  int failures_in_ = 0;  // of single requests; 0: none
  std::string wrong_;    // what was read, the first time
  Jobs jobs_;
  std::unique_ptr<mirror::Mirror> mirror_;
  std::vector<std::unique_ptr<Running>> running_;
  std::unique_ptr<RunningVerb> verb_;
};

}  // namespace sluice::test
