// MirrorRun: what happens to its legs, and to their power.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "model/mirror_run.hpp"
#include "target/mirror/assembly.hpp"

namespace sluice::test {
namespace {

constexpr int kWholeSteps = 100'000;  // more than any resync needs
constexpr size_t kMostLegs = 5;

}  // namespace

std::pair<std::unique_ptr<MirrorRun::ModelLeg>, std::unique_ptr<VolatileDisk>> MirrorRun::make_leg(
    const Bytes& contents) {
  auto leg = std::make_unique<ModelLeg>();
  auto disk = std::make_unique<VolatileDisk>(power_, contents.size(), random_() % 2 == 0);
  if (random_() % 4 != 0) disk->offer_discard();
  disk->load(contents);
  disk->fails = [this, &leg = *leg](const Request& request) { return failure_of(leg, request); };
  leg->disk = disk.get();
  return {std::move(leg), std::move(disk)};
}

// --- Legs

// One leg always lives, and is in sync when another one dies: what it alone has is never lost.
void MirrorRun::change_legs() {
  if (verb_ || random_() % 60 != 0) return;
  const size_t number = random_() % legs_.size();
  ModelLeg& leg = *legs_[number];
  const uint64_t dice = random_() % 16;
  const auto is_dead = [](const auto& each) { return each->error != 0; };
  const bool all_live = std::ranges::none_of(legs_, is_dead);
  const bool has_spare = mirror_->health().numbers[0].value > 1;  // legs in sync
  if (leg.error != 0) {
    if (dice < 5) return;
    leg.error = 0;
    if (dice < 9) start_verb("readd", number);
  } else if (dice < 3 && all_live && has_spare) {
    leg.error = random_() % 2 == 0 ? EIO : ENODEV;
    ++setup_.counts.deaths;
  } else if (dice < 6) {
    if (all_live) start_verb("fail", number);
  } else if (dice < 8) {
    start_verb("readd", number);
  } else if (dice < 9) {
    start_verb("scrub", kMostLegs);
  } else if (dice < 10) {
    failures_in_ = 1 + static_cast<int>(random_() % 40);
  } else if (dice < 11) {
    if (legs_.size() < kMostLegs) start_verb("add", kMostLegs);
  } else if (dice < 13) {
    if (legs_.size() > 2) start_verb("remove", number);
  } else if (dice < 14) {
    if (legs_.size() < kMostLegs) start_verb("spare", kMostLegs);
  } else {
    start_verb("replace", number);
  }
}

// A new disk is blank, or has what a leg had that was removed.
void MirrorRun::start_verb(const std::string& name, size_t number, const std::string& leg_text) {
  verb_ = std::make_unique<RunningVerb>(ring_, number);
  ControlCall& call = verb_->call;
  call.publish = [](const Spec&) { return kOk; };
  call.verb.target = name;
  if (name == "scrub" && random_() % 2 == 0) call.verb.set("repair", true);
  if (number < kMostLegs) call.verb.set("leg", std::to_string(number + 1));
  if (!leg_text.empty()) call.verb.set("leg", leg_text);
  if (number < kMostLegs && name == "remove") {
    const std::scoped_lock guard(power_.mutex);
    verb_->contents = legs_[number]->disk->after_cut(VolatileDisk::Left::newest, random_);
  }
  const bool may_bring_a_leg = legs_.size() < kMostLegs && random_() % 2 == 0;
  if (name == "add" || name == "spare" || (name == "replace" && may_bring_a_leg)) {
    Spec spec{.target = "mem"};
    spec.set("size", (uint64_t{10} + ++added_) << 20);
    call.verb.children.push_back(std::move(spec));
    const bool is_old = !removed_.empty() && random_() % 2 == 0;
    auto [leg, disk] =
        make_leg(is_old ? removed_ : Bytes(setup_.shape.data_bytes + kMirrorMetadataRoom));
    verb_->leg = std::move(leg);
    call.children.push_back(std::move(disk));
  }
  verb_->task.emplace(mirror_->control(verb_->life.request, call));
}

void MirrorRun::collect_verb() {
  if (!verb_ || !verb_->task->finished()) return;
  const auto verb = std::exchange(verb_, nullptr);
  const std::string& name = verb->call.verb.target;
  const bool is_in = verb->call.answer.contains("leg");  // also if what came after it has failed
  if (verb->leg && is_in) {
    const auto at = static_cast<std::ptrdiff_t>(verb->call.answer.at("leg").get<uint64_t>()) - 1;
    legs_.insert(legs_.begin() + at, std::move(verb->leg));
  }
  if (!verb->task->status().ok()) {
    if (verb->leg) gone_.push_back(std::move(verb->leg));
    return;
  }
  ++setup_.counts.verbs;
  const auto leg = legs_.begin() + static_cast<std::ptrdiff_t>(verb->number);
  if (name == "fail" && random_() % 2 == 0) (*leg)->disk->cut_power(random_);
  if (name == "remove" && verb->number < kMostLegs) {
    removed_ = std::move(verb->contents);
    gone_.push_back(std::move(*leg));
    legs_.erase(leg);
  }
}

// A leg that is dead fails all requests; now and then one of a living leg fails, if it is not the
// only one.
int MirrorRun::failure_of(const ModelLeg& leg, const Request& request) {
  if (leg.error != 0) return leg.error;
  if (failures_in_ == 0 || --failures_in_ != 0) return 0;
  const Health health = mirror_->health();
  if (health.numbers.empty() || health.numbers[0].value < 2) return 0;
  return request.changes_data() && random_() % 2 == 0 ? ENOSPC : EIO;
}

bool MirrorRun::is_whole() const {
  const Health health = mirror_->health();
  const auto number = [&](std::string_view name) {
    return std::ranges::find(health.numbers, name, &HealthNumber::name)->value;
  };
  return health.state == HealthState::ok && number("resync_left_bytes") == 0 &&
         number("dirty_bytes") == 0;
}

// All legs come back, and in the end none has anything that another one has not.
void MirrorRun::make_whole() {
  failures_in_ = 0;
  for (const auto& leg : legs_) leg->error = 0;
  for (int i = 0; !is_whole(); ++i) {
    ASSERT_LT(i, kWholeSteps) << mirror_->health().reason;
    if (i % 1000 == 0 && !verb_) start_verb("readd", random_() % legs_.size());
    if (i % 1000 == 500 && !verb_) forget_lost_leg();
    if (i == kWholeSteps / 2 && !verb_) {  // flushes of all legs have failed: until the next start
      EXPECT_NE(flush_all(), 0) << mirror_->health().reason;
      ++setup_.counts.restarts;
      stop_mirror();
      start_mirror();
    }
    step();
    if (testing::Test::HasFailure()) return;
  }
}

// A row of the table that no leg has: it was lost, or the power was cut while it was added.
void MirrorRun::forget_lost_leg() {
  std::vector<mirror::LegRecord> records;
  for (const Bytes& leg : left_on_legs(VolatileDisk::Left::durable)) {
    records.push_back(record_on_leg(setup_.shape, leg));
  }
  for (const mirror::LegEntry& row : records[random_() % records.size()].legs) {
    if (std::ranges::count(records, row.leg, &mirror::LegRecord::leg) != 0) continue;
    return start_verb("remove", kMostLegs, row.leg.text());
  }
}

void MirrorRun::compare_legs() {
  const auto legs = left_on_legs(VolatileDisk::Left::durable);
  const auto [decision, present] = decide_on(legs);
  ASSERT_TRUE(decision.winner);
  const auto truth = data_on_leg(setup_.shape, legs[*decision.winner]);
  for (size_t i = 0; i < legs.size(); ++i) {
    if (decision.legs[i].role == mirror::Role::spare) continue;
    EXPECT_TRUE(present[i].record.clean);
    EXPECT_EQ(present[i].record.state(), mirror::LegState::in_sync);
    EXPECT_TRUE(std::ranges::equal(data_on_leg(setup_.shape, legs[i]), truth))
        << "legs in sync differ";
  }
}

// --- Power cuts

std::vector<MirrorRun::Bytes> MirrorRun::left_on_legs(VolatileDisk::Left left) {
  std::vector<Bytes> legs;
  for (const auto& leg : legs_) legs.push_back(leg->disk->after_cut(left, random_));
  return legs;
}

std::pair<mirror::Decision, std::vector<mirror::PresentLeg>> MirrorRun::decide_on(
    const std::vector<Bytes>& legs) const {
  std::vector<mirror::PresentLeg> present;
  for (const Bytes& leg : legs) {
    mirror::PresentLeg& found = present.emplace_back();
    found.record = record_on_leg(setup_.shape, leg);
    found.leg_bytes = leg.size();
  }
  return {mirror::decide(present), present};
}

int MirrorRun::events_to_cut() {
  constexpr uint64_t kEvents = 4000;
  const uint64_t most = kEvents / static_cast<uint64_t>(std::max(setup_.cuts, 4));
  return 1 + static_cast<int>(random_() % most);
}

// Called by a disk.
void MirrorRun::maybe_cut() {
  if (cuts_left_ == 0 || --until_cut_ > 0) return;
  until_cut_ = events_to_cut();
  --cuts_left_;
  std::vector<Bytes> legs = left_on_legs(VolatileDisk::Left::any);
  // One that is being removed is no leg any more, or is one still.
  const bool removes = verb_ && verb_->call.verb.target == "remove" && verb_->number < kMostLegs;
  if (removes && !decide_on(legs).first.winner) {
    legs.erase(legs.begin() + static_cast<std::ptrdiff_t>(verb_->number));
  }
  cuts_.push_back({oracle_, std::move(legs)});
}

// A leg is lost with the power, if another one has all data.
void MirrorRun::lose_a_leg(std::vector<Bytes>& legs) {
  if (legs.size() < 2) return;
  const auto [all, present] = decide_on(legs);
  auto rest = legs;
  rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(random_() % rest.size()));
  const auto [without, left] = decide_on(rest);
  if (!without.winner) return;
  const mirror::LegRecord& winner = left[*without.winner].record;
  if (winner.find(winner.leg)->follows) return;  // it may lack what was acknowledged
  for (size_t i = 0; i < present.size(); ++i) {
    const bool has_all =
        all.legs[i].role == mirror::Role::winner || all.legs[i].role == mirror::Role::equal;
    if (!has_all || present[i].record.leg != left[*without.winner].record.leg) continue;
    legs = std::move(rest);
    ++setup_.counts.lost_legs;
    return;
  }
}

// T3.10
void MirrorRun::damage_a_bitmap(Bytes& leg) {
  const mirror::LegRecord record = record_on_leg(setup_.shape, leg);
  leg[record.places.intent_offset + random_() % mirror::kIntentBlockBytes] ^= std::byte{1};
}

void MirrorRun::check_next() {
  Cut cut = std::move(cuts_.back());
  cuts_.pop_back();
  if (random_() % 4 == 0) lose_a_leg(cut.legs);
  if (random_() % 4 == 0) damage_a_bitmap(cut.legs[random_() % cut.legs.size()]);
  SCOPED_TRACE(fmt::format("after power cut {}", ++setup_.counts.cuts));
  Setup next = setup_;
  next.cuts = setup_.depth < 2 ? 2 : 0;
  ++next.depth;
  MirrorRun run(next, random_(), cut.legs, std::move(cut.oracle));
  run.run(60);
}

}  // namespace sluice::test
