// Progress: how far a long command has come, as a line that is written over: `(12.50/100%)`.
//
// Used by one thread.
#pragma once

#include <cstdint>
#include <ostream>

namespace sluice::cli {

class Progress {
 public:
  // Says nothing unless `wanted`.
  Progress(std::ostream& out, bool wanted);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // Ends the line.
  ~Progress();

  // `done` of `all`, in bytes. Written at every hundredth.
  void tell(uint64_t done, uint64_t all);

 private:
  std::ostream& out_;
  const bool wanted_;
  uint64_t told_ = UINT64_MAX;  // hundredths
};

}  // namespace sluice::cli
