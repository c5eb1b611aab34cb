// ArrayWorld: the legs of a mirror on which an array lives, loses legs, gets them back, and crashes
// between any two durable writes; started again with any of its legs by what decide() says.
//
// The array keeps the order of writes of docs/formats/mirror.md. The oracle knows the contents of
// each leg, where each came from, and which acknowledged writes a leg has taken part in; decide()
// knows superblocks and bitmaps only. For tests; single-threaded.
#pragma once

#include <array>
#include <bitset>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "target/mirror/assembly.hpp"

namespace sluice::mirror::test {

class ArrayWorld {
 public:
  ArrayWorld(uint64_t seed, size_t legs);

  // Starts the array `starts` times. False: a rule is broken, see failure().
  bool live(int starts);

  const std::string& failure() const { return failure_; }
  int started() const { return started_; }
  int refused() const { return refused_; }
  int behind_by_bits() const { return behind_by_bits_; }
  int behind_all() const { return behind_all_; }
  int resolved() const { return resolved_; }

 private:
  static constexpr size_t kRegions = 4;
  using Regions = std::bitset<kRegions>;
  using Contents = std::array<size_t, kRegions>;  // versions

  struct Disk {
    LegRecord record;
    Regions dirty;     // its bitmap
    Contents data{};   // what its regions hold
    Contents known{};  // the last acknowledged write of each that it was in sync for
  };
  struct Crash {};

  void start();
  void resolve();
  std::vector<size_t> some_legs();
  std::optional<Decision> decide_on(const std::vector<size_t>& present, bool may_fail);
  std::vector<PresentLeg> found(const std::vector<size_t>& present);
  Decision decide_with(const std::vector<size_t>& present, const std::vector<size_t>& discard);
  void check(const Decision& decision, const std::vector<size_t>& present);
  void check_content(size_t leg, size_t winner, const Regions& copied);
  void take_over(const Decision& decision, const std::vector<size_t>& present);

  void run();
  void write();
  void evict(const std::vector<size_t>& failing);
  void begin_generation();
  void attach();
  void begin_resync(size_t leg, Role role);
  void resync_step();
  void promote(size_t leg);
  void give_up_on_missing();
  void clear_bits(size_t region);

  void publish();
  void write_record(size_t leg);
  void add_bits(size_t leg, const Regions& bits);
  void step();
  void fail(const std::string& what);

  size_t random(size_t below) { return random_() % below; }
  bool chance(unsigned percent) { return random(100) < percent; }
  std::vector<size_t> shuffled(std::vector<size_t> legs);
  std::vector<size_t> attached() const;
  bool is_in_sync(size_t leg) const;
  bool any_missing() const;
  bool has(size_t content, size_t version) const;

  std::mt19937_64 random_;
  std::vector<Disk> disks_;
  std::vector<size_t> parents_{0};  // of each version: what it overwrote
  bool apart_ = false;              // it once went on without a leg that was in sync before
  std::string failure_;
  int started_ = 0;
  int refused_ = 0;
  int behind_by_bits_ = 0;
  int behind_all_ = 0;
  int resolved_ = 0;

  // Of the running array: lost in a crash.
  LegRecord common_;             // what all superblocks say
  std::vector<size_t> in_sync_;  // the first serves dirty regions
  bool is_due_ = false;          // a generation, before the first write is acknowledged
  std::vector<size_t> stale_;
  std::map<size_t, Regions> needs_;  // what a leg lacks
};

}  // namespace sluice::mirror::test
