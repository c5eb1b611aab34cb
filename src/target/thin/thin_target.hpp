// ThinTarget: a volume of a thin pool.
//
// A mapped range moves on the request's own pages, neighbouring blocks as one operation; a lookup
// of mappings that were used lately takes no lock. A write to a block that is not mapped, or that a
// snapshot has as well, fills a new block, and only then maps it. See Pool.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "target/control_call.hpp"
#include "target/life/jobs.hpp"
#include "target/status_contexts.hpp"
#include "target/thin/pool.hpp"

namespace sluice::thin {

// Neighbouring blocks of a volume, as far as they are neighbours on the data device.
struct Run {
  uint64_t length = 0;  // bytes
  Place place = {};     // of the first block
  uint64_t offset = 0;  // of the first byte on the data device, if it is mapped
};

// A block that a write changes.
struct NewBlock {
  uint64_t block = 0;
  Place before = {};
  bool in_place = false;
  uint64_t data_block = 0;
};

class ThinTarget final : public Target, private StatusContexts {
 public:
  // Children: the metadata device and the data device of the pool and, if there is one, the
  // external origin; or none, if another target of the stack has the pool.
  struct Shape {
    uint32_t id = 0;
    uint64_t size_bytes = 0;
    bool read_only = false;
  };
  ThinTarget(Children children, std::shared_ptr<Pool> pool, const Shape& shape);
  ~ThinTarget() override;

  bool is_living() const override { return true; }
  Task start(Request& request, LifeCall& call) override;
  Task stop(Request& request, LifeCall& call) override;
  void note_end() override { pool_->note_end(); }
  Task control(Request& request, ControlCall& call) override;
  StatusContexts* status_contexts() override { return this; }
  Health health() const override;
  std::string swap_risk() const override;

 private:
  class Housekeeping;

  Task do_submit(Request& request) override;
  Task do_extents(Request& request, Extents& found) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;
  Result<void> grow_pool();

  // --- Lookups (reading.cpp). The caller holds the range.
  bool try_look_up(uint64_t offset, uint64_t length, Run& run) const;
  Task look_up(Request& request, uint64_t offset, uint64_t length, Run& run);
  Task look_up_slowly(Request& request, uint64_t offset, uint64_t length, Run& run);
  Task read(Request& request);
  Task read_runs(Request& request, Run run);
  Task read_run(Request& request, const Run& run);
  Task read_origin(Request& request);

  // --- Writing (writing.cpp).
  Task write(Request& request);
  Task write_in_place(Request& request, bool& written);
  Task write_run(Request& request, const Run& run);
  Task write_new(Request& request);
  Task try_write_new(Request& request, bool& is_full);
  Task plan(Request& request, std::span<NewBlock> blocks);
  Task fill(Request& request, std::span<const NewBlock> blocks);
  Task fill_edge(Request& request, const NewBlock& block, uint64_t begin, uint64_t end);
  Task zero_edge(Request& request, uint64_t to, uint64_t length);
  Task copy_origin(Request& request, uint64_t begin, uint64_t to, uint64_t length);
  Task copy_edge(Request& request, Target& from, uint64_t from_offset, uint64_t to_offset,
                 uint64_t length, uint64_t there);

  // --- Discards and zeroes (discarding.cpp).
  Task discard(Request& request);
  Task unmap(Request& request, uint64_t begin, uint64_t& end);
  uint64_t last_block(uint64_t end) const;
  Task write_zeroes(Request& request);
  Task extents_of_origin(Request& request, Extents& found);

  // --- How it differs from other volumes (delta.cpp).
  std::vector<std::string> contexts() const override;
  Task context_status(Request& request, const std::string& context, StatusRuns& found) override;

  // --- Verbs (verbs.cpp).
  Task change_pool(Request& request, ControlCall& call);
  Task list(Request& request, ControlCall& call);

  uint64_t data_offset(const NewBlock& block, uint64_t offset) const {
    return block.data_block * block_bytes_ + offset % block_bytes_;
  }

  const std::shared_ptr<Pool> pool_;
  const bool has_pool_;   // its devices are children
  Target* const origin_;  // null: none
  Volume volume_;
  uint64_t block_bytes_ = 0;
  ControlReactor* control_ = nullptr;  // while it is served
  std::unique_ptr<Housekeeping> housekeeping_;
};

}  // namespace sluice::thin
