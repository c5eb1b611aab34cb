// ThinVolumeRun: snapshots, power cuts, and what they leave.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "model/thin_volume_parts.hpp"
#include "model/volatile_blocks.hpp"
#include "persistent/check.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kCutSector = BlockOracle::kBlock;
constexpr size_t kThinSnapshots = 4;
constexpr size_t kJudgeEach = 20;

}  // namespace

// --- Snapshots

void ThinVolumeRun::maybe_start_verb() {
  if (verb_ != nullptr || uncertain_ || has_lost_ || random_() % 60 != 0) return;
  verb_ = std::make_unique<RunningVerb>(ring_);
  Verb& verb = verb_->verb;
  verb.takes =
      state_.snapshots.empty() || (state_.snapshots.size() < kThinSnapshots && random_() % 2 == 0);
  if (verb.takes) {
    verb.id = next_id_++;
    verb.volume = random_() % kVolumes;
    verb.before.push_back(state_.oracles[verb.volume]);
    for (const auto& each : running_) {
      if (each->op != Op::write || each->volume != verb.volume) continue;
      verb_->writes.push_back({each->number, each->offset, each->length});
    }
    verb_->call.verb.target = "snapshot";
    verb_->call.verb.set("origin", uint64_t{thin_id_of(verb.volume)});
  } else {
    auto chosen = state_.snapshots.begin();
    std::advance(chosen, random_() % state_.snapshots.size());
    verb.id = chosen->first;
    verb.content = std::move(chosen->second);
    state_.snapshots.erase(chosen);
    verb_->call.verb.target = "delete";
  }
  if (verb.takes) {
    verb_->call.verb.set("id", verb.id);
  } else {
    verb_->call.verb.set("id", std::to_string(verb.id));
  }
  verb_->task.emplace(served_->volumes[0]->control(verb_->life.request, verb_->call));
}

void ThinVolumeRun::collect_verb() {
  if (verb_ == nullptr || !verb_->task->finished()) return;
  const auto ended = std::move(verb_);
  const int error = ended->task->status().error();
  ended->task.reset();
  Verb& verb = ended->verb;
  if (error != 0) {
    EXPECT_TRUE(error == ENOSPC || setup_.shape.fails_each != 0) << error << ended->call.why;
    uncertain_ = std::move(verb);
    return;
  }
  if (!verb.takes) {
    ++setup_.counts.deletions;
    return;
  }
  ++setup_.counts.snapshots;
  const auto fails = std::exchange(data_->fails, nullptr);
  const auto metadata_fails = std::exchange(metadata_->fails, nullptr);
  uncertain_ = verb;  // what it has is not known before it has been read
  Bytes found = read_snapshot(verb.id);
  uncertain_.reset();
  data_->fails = fails;
  metadata_->fails = metadata_fails;
  if (has_lost_) return;
  check_new_snapshot(verb, found);
  for (const auto& write : ended->writes) {
    Bytes pattern(write.length);
    BlockOracle::fill(write.number, write.offset, pattern);
    uint64_t seen = 0;
    for (uint64_t at = 0; at < write.length; at += kCutSector) {
      seen += std::equal(pattern.begin() + static_cast<ptrdiff_t>(at),
                         pattern.begin() + static_cast<ptrdiff_t>(at + kCutSector),
                         found.begin() + static_cast<ptrdiff_t>(write.offset + at));
    }
    // T6.11
    EXPECT_TRUE(seen == 0 || seen == write.length / kCutSector)
        << "a snapshot has " << seen << " blocks of " << write.length / kCutSector;
  }
  state_.snapshots[verb.id] = std::move(found);
}

void ThinVolumeRun::check_new_snapshot(const Verb& verb, const Bytes& found) {
  EXPECT_EQ(verb.before[0].check(0, found), "") << "snapshot " << verb.id;
}

// --- Power cuts

int ThinVolumeRun::events_to_cut() {
  return 1 + static_cast<int>(random_() % (4000 / static_cast<uint64_t>(std::max(setup_.cuts, 8))));
}

void ThinVolumeRun::maybe_cut() {
  if (cuts_left_ == 0 || --until_cut_ > 0) return;
  until_cut_ = events_to_cut();
  --cuts_left_;
  Cut cut{.state = {.disks = {.metadata = metadata_->after_cut(VolatileDisk::Left::any, random_),
                              .data = data_->after_cut(VolatileDisk::Left::any, random_)},
                    .oracles = state_.oracles,
                    .snapshots = state_.snapshots},
          .verb = uncertain_};
  if (verb_ != nullptr) cut.verb = verb_->verb;
  cuts_.push_back(std::move(cut));
}

void ThinVolumeRun::check_next() {
  Cut cut = std::move(cuts_.back());
  cuts_.pop_back();
  if (testing::Test::HasFailure()) return;
  SCOPED_TRACE(fmt::format("after power cut {}", ++setup_.counts.cuts));
  examine(cut.state.disks);
  Setup next = setup_;
  next.shape.fails_each = 0;
  next.cuts = setup_.depth == 0 ? 2 : 0;
  ++next.depth;
  ThinVolumeRun run(next, random_(), std::move(cut.state));
  run.start_pool();
  if (testing::Test::HasFailure()) return;
  // T6.10: all volumes are there. T6.12: none that was deleted is.
  std::vector<uint64_t> expected;
  for (size_t i = 0; i < kVolumes; ++i) expected.push_back(thin_id_of(i));
  for (const auto& [id, content] : run.state_.snapshots) expected.push_back(id);
  std::vector<uint64_t> found = run.ids();
  if (cut.verb) {
    const auto there = std::ranges::find(found, cut.verb->id);
    if (there != found.end()) {
      found.erase(there);
      Bytes content = run.read_snapshot(cut.verb->id);
      if (cut.verb->takes) {
        run.check_new_snapshot(*cut.verb, content);
      } else {
        EXPECT_EQ(content, cut.verb->content);
      }
      expected.push_back(cut.verb->id);
      run.state_.snapshots[cut.verb->id] = std::move(content);
      found.push_back(cut.verb->id);
    }
  }
  std::ranges::sort(expected);
  std::ranges::sort(found);
  ASSERT_EQ(found, expected);
  run.next_id_ = std::max(run.next_id_, found.back() + 1);
  for (const auto& [id, content] : run.state_.snapshots) {
    ASSERT_EQ(run.read_snapshot(id), content) << "snapshot " << id;
  }
  for (size_t i = 0; i < kVolumes; ++i) {
    BlockOracle& oracle = run.state_.oracles[i];
    const Bytes bytes = run.read_all(*run.served_->volumes[i], oracle.size_bytes());
    ASSERT_EQ(oracle.adopt(0, bytes), "") << "volume " << thin_id_of(i);
  }
  run.stop_pool();
  if (setup_.counts.cuts % 4 == 0) run.run(150);
}

// T6.14
void ThinVolumeRun::examine(const Disks& disks) {
  VolatileBlocks device(disks.metadata);
  const auto result = persistent::check(device, {});
  ASSERT_TRUE(result) << result.error().text;
  ASSERT_TRUE(result->clean()) << result->sentences.front();
  if (setup_.counts.cuts % kJudgeEach != 0) return;
  ++setup_.counts.judged;
  setup_.folder.write("metadata", disks.metadata);
  const std::string command = fmt::format("thin_check -q {}", setup_.folder.path() + "/metadata");
  EXPECT_EQ(std::system(command.c_str()), 0);
}

std::vector<uint64_t> ThinVolumeRun::ids() {
  LifeRequest life(ring_);
  std::vector<thin::Pool::Entry> entries;
  std::string why;
  Task listing = served_->pool->list(life.request, entries, why);
  perform_until(listing);
  EXPECT_EQ(listing.status().error(), 0) << why;
  std::vector<uint64_t> found;
  for (const thin::Pool::Entry& entry : entries) found.push_back(entry.id);
  return found;
}

}  // namespace sluice::test
