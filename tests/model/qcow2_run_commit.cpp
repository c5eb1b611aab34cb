// Qcow2Run: the image is committed to its backing file, in which the disk goes on.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "model/qcow2_run_verbs.hpp"

namespace sluice::test {
namespace {

// Refusals that depend on how far the job has come.
constexpr std::array<std::string_view, 3> kTooEarly{"not yet moved", "committed already",
                                                    "faster than"};
// The job may have ended the commit.
constexpr std::array<std::string_view, 2> kTooLate{"not being committed", "is raw"};

bool has_any(std::string_view text, const auto& parts) {
  return std::ranges::any_of(parts, [&](std::string_view part) { return text.contains(part); });
}

}  // namespace

bool Qcow2Run::is_committing() const { return !target_->health().numbers.empty(); }

// Requests go on. Snapshots need the backing file as it is.
void Qcow2Run::maybe_commit() {
  if (verb_ != nullptr || has_lost_ || image_.is_below || image_.backing.empty() ||
      !image_.snapshots.empty() || !image_.data_file.empty()) {
    return;
  }
  const uint64_t dice = random_() % 400;
  if (dice >= 10) return;
  if (!is_committing()) {
    if (dice < 4) start_commit("");
    return;
  }
  start_commit(dice < 2 ? "" : dice < 4 ? "cancel" : "pivot");
}

void Qcow2Run::start_commit(const std::string& flag) {
  verb_ = std::make_unique<RunningVerb>(ring_);
  verb_->is_commit = true;
  ControlCall& call = verb_->call;
  call.verb = {.target = "commit"};
  if (flag.empty()) {
    Spec file{.target = "loop"};
    file.set("file", image_.backing);
    call.verb.children.push_back(std::move(file));
    call.children.push_back(open_backing(true));
  } else {
    call.verb.set(flag, true);
  }
  call.publish = [this](const Spec& own) {
    EXPECT_EQ(own.text("file"), image_.backing);
    return publish();
  };
  verb_->task.emplace(target_->control(verb_->life.request, call));
}

// The record. No power cut comes within.
Status Qcow2Run::publish() {
  if (may_fail_ && random_() % 3 == 0) return Status::from_errno(ENOSPC);
  cut_often();
  image_.is_below = true;
  image_.cluster_bytes = image_.backing_cluster_bytes;
  image_.snapshots = image_.backing_snapshots;
  image_.snapshot_contents = image_.backing_snapshot_contents;
  uncertain_.clear();  // of the image that is left
  cut_often();
  return kOk;
}

void Qcow2Run::cut_often() {
  const std::scoped_lock guard(power_.mutex);
  if (random_() % 2 == 0) until_cut_ = 1;
  maybe_cut();
}

void Qcow2Run::collect_commit(const RunningVerb& ended) {
  const int error = ended.task->status().error();
  const std::string& why = ended.call.why;
  const Spec& verb = ended.call.verb;
  if (error == 0) {
    if (!verb.children.empty()) ++setup_.counts.commits;
    if (verb.flag("pivot")) ++setup_.counts.pivots;
    return;
  }
  if (has_any(why, kTooEarly)) return;
  if ((may_fail_ || image_.backing_format == "raw") && has_any(why, kTooLate)) return;
  // A snapshot that could not be taken may be there.
  if (may_fail_ && (error == EIO || error == ENOSPC || why.contains("internal snapshots"))) return;
  ADD_FAILURE() << "commit: " << error << ' ' << why;
}

}  // namespace sluice::test
