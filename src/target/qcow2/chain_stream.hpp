// The job of Chain that copies what comes from the backing file into the image.
#pragma once

#include "target/qcow2/chain.hpp"

namespace sluice::qcow2 {

// Each step copies some megabytes, or looks at some part of the disk.
class Chain::Stream final : public Job {
 public:
  static constexpr double kShare = 0.5;

  explicit Stream(Chain& chain) : Job("stream", kShare), chain_(chain) {}

  using Job::finish;
  using Job::is_told_to_end;

 private:
  Task step(Request& request) override { return chain_.stream_step(request); }

  Chain& chain_;
};

}  // namespace sluice::qcow2
