// What a ThinVolumeRun serves, and what it has running.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/thin_volume_run.hpp"

namespace sluice::test {

inline uint32_t thin_id_of(size_t volume) { return static_cast<uint32_t>(volume + 1); }

struct ThinVolumeRun::Running {
  explicit Running(Ring& ring) : tag(ring) {}
  TestTag tag;
  Bytes memory;
  Op op = Op::read;
  bool fua = false;
  size_t volume = 0;
  uint64_t number = 0;  // of a write
  uint64_t offset = 0;
  uint64_t length = 0;
  std::vector<uint64_t> begun_at;  // for each oracle
  std::optional<Task> task;
};

struct ThinVolumeRun::RunningVerb {
  explicit RunningVerb(Ring& ring) : life(ring) {}
  LifeRequest life;
  ControlCall call;
  Verb verb;
  // The writes in flight when it began: the snapshot has all of each, or nothing.
  struct Write {
    uint64_t number;
    uint64_t offset;
    uint64_t length;
  };
  std::vector<Write> writes;
  std::optional<Task> task;
};

struct ThinVolumeRun::Served {
  std::shared_ptr<thin::Pool> pool;
  std::vector<std::unique_ptr<thin::ThinTarget>> volumes;
};

}  // namespace sluice::test
