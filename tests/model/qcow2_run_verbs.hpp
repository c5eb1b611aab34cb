// The verb that a Qcow2Run has running, and what verbs open.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "model/qcow2_run.hpp"

namespace sluice::test {

struct Qcow2Run::RunningVerb {
  explicit RunningVerb(Ring& ring) : life(ring) {}
  LifeRequest life;
  ControlCall call;
  std::optional<Task> task;
  bool is_commit = false;  // requests begin meanwhile
};

// A VolatileDisk that a target has opened, as a file if there is one.
class OpenedDisk final : public Target {
 public:
  OpenedDisk(VolatileDisk& disk, Descriptor file, bool writable) : disk_(disk) {
    geometry_ = disk.geometry();
    geometry_.needs_bytes = false;
    geometry_.read_only = !writable;
    if (!file.valid()) return;
    std::vector<OpenFile> files;
    files.push_back({.descriptor = std::move(file), .slot = FileSlot()});
    own(std::move(files));
  }

 private:
  Task do_submit(Request& request) override { return disk_.submit(request); }
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override {
    return disk_.resize(wanted);
  }

  VolatileDisk& disk_;
};

}  // namespace sluice::test
