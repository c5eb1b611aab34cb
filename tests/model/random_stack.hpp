// RandomStack: a random tree of targets, as a Spec, over new files in a folder of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <random>
#include <string>

#include "spec/spec.hpp"

namespace sluice::test {

class RandomStack {
 public:
  enum class Faults {
    none,
    errors,     // requests fail or are short; no copies, which could then differ
    power_cuts  // volatile caches that tear; everything else is in files
  };

  // Sizes and offsets are multiples of `unit_bytes`.
  RandomStack(uint64_t seed, Faults faults, uint64_t unit_bytes, bool buffered_io);
  RandomStack(const RandomStack&) = delete;
  RandomStack& operator=(const RandomStack&) = delete;
  ~RandomStack();

  const Spec& spec() const { return tree_.spec; }
  // The same without its faults: the content of the disks.
  Spec without_faults() const { return strip(tree_.spec); }
  std::string text() const;

 private:
  struct Tree {
    Spec spec;
    uint64_t size_bytes = 0;
  };

  Tree make(int depth);
  Tree make_leaf();
  Tree make_file(uint64_t size_bytes);
  Tree make_linear(int depth);
  Tree make_stripe(int depth);
  Tree make_verify(int depth);
  Tree add_fault(Tree child);
  static Spec strip(const Spec& spec);

  uint64_t number(uint64_t least, uint64_t most) { return least + random_() % (most - least + 1); }
  bool chance(uint64_t percent) { return random_() % 100 < percent; }

  std::mt19937_64 random_;
  const Faults faults_;
  const uint64_t unit_;
  const bool buffered_io_;
  std::filesystem::path folder_;
  int files_ = 0;
  Tree tree_;
};

}  // namespace sluice::test
