#include "model/mirror_run.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "spec/spec.hpp"
#include "target/registry.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kOracleBlock = BlockOracle::kBlock;
constexpr size_t kRequestsAtOnce = 8;
constexpr int kWholeSteps = 200'000;  // more than any resync needs

Spec spec_of(size_t legs) {
  Spec spec{.target = "mirror"};
  for (size_t i = 0; i < legs; ++i) {
    Spec leg{.target = "mem"};
    leg.set("size", uint64_t{i + 1} << 20);
    spec.children.push_back(leg);
  }
  return spec;
}

std::string numbers_of(const Health& health) {
  std::string text = health.reason;
  for (const HealthNumber& each : health.numbers) {
    text += fmt::format(" {}={}", each.name, each.value);
  }
  return text;
}

}  // namespace

struct MirrorRun::Running {
  explicit Running(Ring& ring) : tag(ring) {}
  TestTag tag;
  Bytes memory;
  Op op = Op::read;
  bool fua = false;
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t begun_at = 0;
  std::optional<Task> task;
};

struct MirrorRun::RunningVerb {
  explicit RunningVerb(Ring& ring) : life(ring) {}
  LifeRequest life;
  ControlCall call;
  std::optional<Task> task;
};

MirrorRun::MirrorRun(const Setup& setup, uint64_t seed, const std::vector<Bytes>& legs,
                     BlockOracle oracle)
    : setup_(setup),
      random_(seed),
      power_(random_()),
      oracle_(std::move(oracle)),
      until_cut_(events_to_cut()),
      cuts_left_(setup.cuts),
      is_dead_(legs.size()) {
  Target::Children children;
  for (size_t i = 0; i < legs.size(); ++i) {
    auto disk = std::make_unique<VolatileDisk>(power_, legs[i].size(), random_() % 2 == 0);
    if (random_() % 4 != 0) disk->offer_discard();
    disk->load(legs[i]);
    disk->fails = [this, i](const Request& request) { return failure_of(i, request); };
    disks_.push_back(disk.get());
    children.push_back(std::move(disk));
  }
  mirror_ = std::make_unique<mirror::Mirror>(std::move(children), spec_of(legs.size()),
                                             mirror::MirrorOptions{.degraded = true});
}

MirrorRun::~MirrorRun() = default;

void MirrorRun::run(int steps) {
  power_.on_event = [this] { maybe_cut(); };
  start_mirror();
  if (testing::Test::HasFailure()) return;
  EXPECT_EQ(oracle_.adopt(0, read_all()), "");
  for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
    change_legs();
    if (running_.size() < kRequestsAtOnce) start();
    step();
  }
  while ((!running_.empty() || verb_) && !testing::Test::HasFailure()) step();
  if (testing::Test::HasFailure()) return;
  make_whole();
  if (testing::Test::HasFailure()) return;
  note_read(0, read_all());
  if (!wrong_.empty()) EXPECT_TRUE(has_lost()) << wrong_;
  const bool is_judged = !has_lost();
  stop_mirror();
  power_.on_event = nullptr;
  if (is_judged) compare_legs();
  while (!cuts_.empty()) check_next();
}

// --- Life

void MirrorRun::start_mirror() {
  for (const auto purpose : {LifeCall::Purpose::look, LifeCall::Purpose::serve}) {
    LifeRequest life(ring_);
    LifeCall call{.purpose = purpose, .jobs = &jobs_};
    Task starting = mirror_->start(life.request, call);
    perform_until(starting);
    ASSERT_EQ(starting.status().error(), 0) << call.why;
    if (purpose == LifeCall::Purpose::serve) break;
    Task stopping = mirror_->stop(life.request, call);
    perform_until(stopping);
    EXPECT_EQ(stopping.status().error(), 0);
  }
  LifeRequest life(ring_);
  Task beginning = jobs_.begin_here(life.request);
  perform_until(beginning);
}

void MirrorRun::stop_mirror() {
  LifeRequest life(ring_);
  LifeCall call;
  {
    Task ending = jobs_.end_here(life.request);
    perform_until(ending);
  }
  {
    Task forgetting = jobs_.end_some(life.request, jobs_.all());
    perform_until(forgetting);
  }
  Task stopping = mirror_->stop(life.request, call);
  perform_until(stopping);
  EXPECT_EQ(stopping.status().error(), 0);
}

void MirrorRun::perform_one() {
  ring_.settle();
  if (ring_.pending() != 0) ring_.perform(random_() % ring_.pending());
}

void MirrorRun::perform_until(const Task& task) {
  ring_.settle();
  while (!task.finished() && ring_.pending() != 0) perform_one();
  ASSERT_TRUE(task.finished()) << "it waits for ever";
}

MirrorRun::Bytes MirrorRun::read_all() {
  Bytes bytes(oracle_.size_bytes());
  TestTag tag(ring_);
  Task task = mirror_->submit(tag.make(Op::read, 0, std::span(bytes)));
  perform_until(task);
  EXPECT_EQ(task.status().error(), 0);
  return bytes;
}

// --- Requests

void MirrorRun::step() {
  perform_one();
  collect();
  collect_verb();
  const bool waits = !running_.empty() || verb_;
  if (ring_.pending() == 0 && waits) ADD_FAILURE() << "a request waits for ever";
  while (!cuts_.empty() && !testing::Test::HasFailure()) check_next();
}

void MirrorRun::start() {
  auto running = std::make_unique<Running>(ring_);
  Running& now = *running;
  const uint64_t dice = random_() % 100;
  now.op = dice < 30   ? Op::read
           : dice < 75 ? Op::write
           : dice < 82 ? Op::discard
           : dice < 90 ? Op::write_zeroes
                       : Op::flush;
  if (now.op == Op::discard && !mirror_->geometry().can_discard) now.op = Op::write_zeroes;
  if (now.op != Op::flush && !choose_range(now)) return;
  now.begun_at = oracle_.time();
  const bool data = now.op == Op::read || now.op == Op::write;
  if (data) now.memory.resize(now.length);
  if (now.op == Op::write) {
    const uint64_t number = oracle_.new_number();
    BlockOracle::fill(number, now.offset, now.memory);
    oracle_.begin(number, now.offset, now.length);
  }
  if (now.op == Op::discard || now.op == Op::write_zeroes) {
    oracle_.begin(0, now.offset, now.length);
  }
  now.fua = (now.op == Op::write || now.op == Op::write_zeroes) && random_() % 20 == 0;
  Request& request = data ? now.tag.make(now.op, now.offset, std::span(now.memory))
                          : now.tag.make(now.op, now.offset, now.length);
  request.fua = now.fua;
  request.may_unmap = random_() % 2 == 0;
  now.task.emplace(mirror_->submit(request));
  running_.push_back(std::move(running));
  ++setup_.counts.requests;
}

bool MirrorRun::choose_range(Running& running) {
  const uint64_t blocks = oracle_.size_bytes() / kOracleBlock;
  const uint64_t most = random_() % 10 == 0 ? 512 : 32;
  uint64_t first = random_() % blocks;
  if (random_() % 2 == 0) first %= blocks / 8;
  running.offset = first * kOracleBlock;
  running.length = std::min(1 + random_() % most, blocks - first) * kOracleBlock;
  return std::ranges::none_of(running_, [&](const auto& other) {
    return running.offset < other->offset + other->length &&
           other->offset < running.offset + running.length;
  });
}

void MirrorRun::collect() {
  for (size_t i = 0; i < running_.size();) {
    if (!running_[i]->task->finished()) {
      ++i;
      continue;
    }
    const auto ended = std::move(running_[i]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    end(*ended);
  }
}

void MirrorRun::end(Running& ended) {
  const int error = ended.task->status().error();
  ended.task.reset();
  if (error != 0) {
    EXPECT_TRUE(error == EIO || error == ENOSPC) << to_string(ended.op) << error;
    ++setup_.counts.failed;
    return;
  }
  if (ended.op == Op::read) note_read(ended.offset, ended.memory);
  if (ended.op == Op::write || ended.op == Op::write_zeroes) {
    oracle_.end(ended.offset, ended.length, ended.fua);
  }
  if (ended.op == Op::flush) oracle_.flushed(ended.begun_at);
}

void MirrorRun::note_read(uint64_t offset, const Bytes& bytes) {
  if (!wrong_.empty()) return;
  wrong_ = oracle_.check(offset, bytes);
}

// A flush has failed on the last leg: data may be lost, and flushes fail ever after.
bool MirrorRun::has_lost() {
  TestTag tag(ring_);
  Task flushing = mirror_->submit(tag.make(Op::flush, 0, uint64_t{0}));
  perform_until(flushing);
  return !flushing.status().ok();
}

// --- Legs

// One leg always lives, and is in sync when another one dies: what it alone has is never lost.
void MirrorRun::change_legs() {
  if (verb_ || random_() % 60 != 0) return;
  const size_t leg = random_() % disks_.size();
  const uint64_t dice = random_() % 10;
  const auto living = static_cast<size_t>(std::ranges::count(is_dead_, false));
  const Health health = mirror_->health();
  const bool has_spare = health.numbers[0].value > 1;  // legs in sync
  if (is_dead_[leg]) {
    if (dice < 5) return;
    is_dead_[leg] = false;
    if (dice < 9) start_verb(fmt::format("readd({})", leg + 1));
  } else if (dice < 3 && living > 1 && has_spare) {
    is_dead_[leg] = true;
    ++setup_.counts.deaths;
  } else if (dice < 5) {
    start_verb(fmt::format("fail({})", leg + 1));
  } else if (dice < 7) {
    start_verb(fmt::format("readd({})", leg + 1));
  } else if (dice < 8) {
    start_verb(random_() % 2 == 0 ? "scrub" : "scrub repair");
  } else if (dice < 9) {
    failures_in_ = 1 + static_cast<int>(random_() % 40);
  }
}

void MirrorRun::start_verb(const std::string& text) {
  verb_ = std::make_unique<RunningVerb>(ring_);
  Spec& verb = verb_->call.verb;
  verb.target = text.substr(0, text.find_first_of("( "));
  if (text.ends_with(" repair")) verb.set("repair", true);
  if (const size_t at = text.find('('); at != std::string::npos) {
    verb.set("leg", text.substr(at + 1, text.size() - at - 2));
  }
  verb_->task.emplace(mirror_->control(verb_->life.request, verb_->call));
}

void MirrorRun::collect_verb() {
  if (!verb_ || !verb_->task->finished()) return;
  if (verb_->task->status().ok()) ++setup_.counts.verbs;
  verb_.reset();
}

// A leg that is dead fails all requests; now and then one of a living leg fails, if it is not the
// only one.
int MirrorRun::failure_of(size_t leg, const Request& request) {
  if (is_dead_[leg]) return EIO;
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
  is_dead_.assign(is_dead_.size(), false);
  for (int i = 0; !is_whole(); ++i) {
    ASSERT_LT(i, kWholeSteps) << numbers_of(mirror_->health());
    if (i % 1000 == 999 && has_lost()) return;
    if (i % 1000 == 0 && !verb_)
      start_verb(fmt::format("readd({})", random_() % disks_.size() + 1));
    step();
    if (testing::Test::HasFailure()) return;
  }
}

void MirrorRun::compare_legs() {
  const auto legs = left_on_legs(VolatileDisk::Left::durable);
  for (const Bytes& leg : legs) {
    const mirror::LegRecord record = record_on_leg(setup_.shape, leg);
    EXPECT_TRUE(record.clean);
    EXPECT_EQ(record.state(), mirror::LegState::in_sync);
    EXPECT_TRUE(
        std::ranges::equal(data_on_leg(setup_.shape, leg), data_on_leg(setup_.shape, legs.front())))
        << "legs in sync differ";
  }
}

// --- Power cuts

std::vector<MirrorRun::Bytes> MirrorRun::left_on_legs(VolatileDisk::Left left) {
  std::vector<Bytes> legs;
  for (const VolatileDisk* const disk : disks_) legs.push_back(disk->after_cut(left, random_));
  return legs;
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
  cuts_.push_back({oracle_, left_on_legs(VolatileDisk::Left::any)});
}

void MirrorRun::check_next() {
  Cut cut = std::move(cuts_.back());
  cuts_.pop_back();
  SCOPED_TRACE(fmt::format("after power cut {}", ++setup_.counts.cuts));
  Setup next = setup_;
  next.cuts = setup_.depth < 2 ? 2 : 0;
  ++next.depth;
  MirrorRun run(next, random_(), cut.legs, std::move(cut.oracle));
  run.run(60);
}

}  // namespace sluice::test
