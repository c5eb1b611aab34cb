// Qcow2Run: snapshots are taken, deleted and applied.
#include "model/qcow2_run_verbs.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace sluice::test {
namespace {

constexpr size_t kSnapshotsMost = 5;
constexpr uint64_t kBlockOfDisk = BlockOracle::kBlock;

// What is not a failure of the disk below: the refcounts of the image are too small, or its
// clusters.
constexpr std::array kLimits{EOVERFLOW, EFBIG};

}  // namespace

// One at a time. Meanwhile no requests begin, so that the oracle knows what can be in a snapshot;
// those that run may be before or after it.
void Qcow2Run::maybe_start_verb() {
  if (verb_ != nullptr || has_lost_ || is_committing() || !image_.data_file.empty()) return;
  if (setup_.commits && !image_.is_below) return;
  const uint64_t dice = random_() % 400;
  if (dice > 3) return;
  const size_t count = image_.snapshots.size();
  if (dice < 2 && count < kSnapshotsMost) {
    start_verb("snapshot-create", fmt::format("d{}n{}", setup_.depth, new_snapshots_++), {});
  } else if (count != 0) {
    const size_t chosen = random_() % count;
    const bool applies = running_.empty() && random_() % 3 == 0;
    start_verb(applies ? "snapshot-apply" : "snapshot-delete", image_.snapshots[chosen],
               image_.snapshot_contents[chosen]);
  }
}

void Qcow2Run::start_verb(const std::string& verb, std::string name, Bytes content) {
  uncertain_.push_back(
      {.verb = verb, .name = name, .before = oracle_, .content = std::move(content)});
  if (verb == "snapshot-delete") {
    const auto place = std::ranges::find(image_.snapshots, name) - image_.snapshots.begin();
    image_.snapshots.erase(image_.snapshots.begin() + place);
    image_.snapshot_contents.erase(image_.snapshot_contents.begin() + place);
  }
  if (verb == "snapshot-apply") begin_apply(uncertain_.back().content);
  verb_ = std::make_unique<RunningVerb>(ring_);
  verb_->call.verb = {.target = verb};
  verb_->call.verb.set("name", name);
  verb_->task.emplace(target_->control(verb_->life.request, verb_->call));
}

// The pattern of each block says which write it is of.
void Qcow2Run::begin_apply(std::span<const std::byte> content) {
  for (uint64_t offset = 0; offset < content.size(); offset += kBlockOfDisk) {
    uint64_t number = 0;
    std::memcpy(&number, content.data() + offset, sizeof(number));
    oracle_.begin(number, offset, kBlockOfDisk);
  }
}

void Qcow2Run::collect_verb() {
  if (verb_ == nullptr || !verb_->task->finished()) return;
  if (verb_->is_commit) return collect_commit(*std::exchange(verb_, nullptr));
  const int error = verb_->task->status().error();
  const std::string why = verb_->call.why;
  verb_.reset();
  const Verb ended = uncertain_.back();
  const bool is_limit = std::ranges::find(kLimits, error) != kLimits.end();
  if (error == 0 || is_limit) uncertain_.pop_back();
  if (error == 0) {
    take_effect(ended);
    ++setup_.counts.verbs;
    return;
  }
  EXPECT_TRUE(is_limit || (may_fail_ && (error == EIO || error == ENOSPC))) << error << ' ' << why;
  if (is_limit && ended.verb == "snapshot-delete") ADD_FAILURE() << why;
}

void Qcow2Run::take_effect(const Verb& ended) {
  if (ended.verb == "snapshot-apply") oracle_.end(0, ended.content.size(), true);
  if (ended.verb != "snapshot-create") return;
  write_files("taken.qcow2", left_on_disks(VolatileDisk::Left::newest));
  auto content = read_snapshot(
      setup_.folder, image_.is_below ? image_.backing : std::string("taken.qcow2"), ended.name);
  ASSERT_TRUE(content.has_value()) << setup_.folder.output();
  EXPECT_EQ(ended.before.check(0, *content), "") << "in snapshot " << ended.name;
  image_.snapshots.push_back(ended.name);
  image_.snapshot_contents.push_back(std::move(*content));
}

// What a change that was cut off, or has failed, has left.
void Qcow2Run::check_uncertain(const std::string& name, std::vector<Verb>& verbs,
                               Qcow2Image& image) {
  for (Verb& each : verbs) {
    if (each.verb == "snapshot-apply") continue;  // the oracle knows
    // Not promised, and no longer protected when the disk below has not taken that back.
    if (each.verb == "snapshot-create" && may_fail_) continue;
    auto content = read_snapshot(setup_.folder, image.is_below ? image.backing : name, each.name);
    if (!content) continue;
    if (each.verb == "snapshot-create") {
      EXPECT_EQ(each.before.check(0, *content), "") << "in snapshot " << each.name;
    } else {
      EXPECT_TRUE(*content == each.content) << "snapshot " << each.name << " has changed";
    }
    image.snapshots.push_back(each.name);
    image.snapshot_contents.push_back(std::move(*content));
  }
  verbs.clear();
}

}  // namespace sluice::test
