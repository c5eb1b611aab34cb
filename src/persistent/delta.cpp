#include "persistent/delta.hpp"

#include <algorithm>

#include "persistent/mapped_runs.hpp"

namespace sluice::persistent {
namespace {

// What is left of the run that comes next; nothing: there are no more.
class RunsOfDelta {
 public:
  RunsOfDelta(BlockReader& reader, uint64_t root) : runs_(reader, root) {}

  Result<void> fill() {
    if (left_ || ended_) return {};
    auto next = runs_.next();
    if (!next) return std::unexpected(next.error());
    left_ = *next;
    ended_ = !left_;
    return {};
  }
  const std::optional<MappedRun>& left() const { return left_; }
  void drop(uint64_t length) {
    if (length == left_->length) return left_.reset();
    left_->device_block += length;
    left_->data_block += length;
    left_->length -= length;
  }

 private:
  MappedRuns runs_;
  std::optional<MappedRun> left_;
  bool ended_ = false;
};

// The blocks of `run` before those of `other` begin.
uint64_t length_before(const MappedRun& run, const std::optional<MappedRun>& other) {
  if (!other) return run.length;
  return std::min(run.length, other->device_block - run.device_block);
}

DeltaRun take_next(RunsOfDelta& from, RunsOfDelta& to) {
  const auto& left = from.left();
  const auto& right = to.left();
  DeltaRun found;
  if (!right || (left && left->device_block < right->device_block)) {
    found = {Difference::removed, left->device_block, length_before(*left, right)};
    from.drop(found.length);
  } else if (!left || right->device_block < left->device_block) {
    found = {Difference::added, right->device_block, length_before(*right, left)};
    to.drop(found.length);
  } else {
    found = {left->data_block == right->data_block ? Difference::same : Difference::changed,
             left->device_block, std::min(left->length, right->length)};
    from.drop(found.length);
    to.drop(found.length);
  }
  return found;
}

}  // namespace

Result<void> for_each_difference(BlockReader& reader, uint64_t from_root, uint64_t to_root,
                                 const std::function<void(const DeltaRun&)>& take) {
  RunsOfDelta from(reader, from_root);
  RunsOfDelta to(reader, to_root);
  DeltaRun run;
  for (;;) {
    if (auto filled = from.fill(); !filled) return filled;
    if (auto filled = to.fill(); !filled) return filled;
    if (!from.left() && !to.left()) break;
    const DeltaRun next = take_next(from, to);
    if (run.length != 0 && run.difference == next.difference &&
        run.device_block + run.length == next.device_block) {
      run.length += next.length;
      continue;
    }
    if (run.length != 0) take(run);
    run = next;
  }
  if (run.length != 0) take(run);
  return {};
}

}  // namespace sluice::persistent
