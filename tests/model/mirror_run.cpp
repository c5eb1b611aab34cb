#include "model/mirror_run.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "model/in_flight.hpp"
#include "spec/spec.hpp"
#include "target/registry.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kOracleBlock = BlockOracle::kBlock;
constexpr size_t kRequestsAtOnce = 8;

Spec spec_of(size_t legs) {
  Spec spec{.target = "mirror"};
  for (size_t i = 0; i < legs; ++i) {
    Spec leg{.target = "mem"};
    leg.set("size", uint64_t{i + 1} << 20);
    spec.children.push_back(leg);
  }
  return spec;
}

// The time of the machine must not matter.
constexpr std::chrono::hours kNever{24};
constexpr uint64_t kWriteBehind = 256 << 10;

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

MirrorRun::MirrorRun(const Setup& setup, uint64_t seed, const std::vector<Bytes>& legs,
                     BlockOracle oracle)
    : setup_(setup),
      random_(seed),
      power_(random_()),
      oracle_(std::move(oracle)),
      until_cut_(events_to_cut()),
      cuts_left_(setup.cuts) {
  Target::Children children;
  for (const Bytes& contents : legs) {
    auto [leg, disk] = make_leg(contents);
    legs_.push_back(std::move(leg));
    children.push_back(std::move(disk));
  }
  mirror::MirrorOptions options{.degraded = true, .later_return = kNever, .spare_after = {}};
  options.write_behind_most = kWriteBehind;
  if (legs.size() > 1 && random_() % 3 == 0) {
    options.write_behind = mirror::leg_bit(random_() % legs.size());
  }
  mirror_ = std::make_unique<mirror::Mirror>(std::move(children), spec_of(legs.size()), options);
}

MirrorRun::~MirrorRun() = default;

void MirrorRun::run(int steps) {
  power_.on_event = [this] { maybe_cut(); };
  start_mirror();
  if (testing::Test::HasFailure()) return;
  // What was being written before the cut is durable on all legs only now.
  const Bytes found = read_all();
  EXPECT_EQ(flush_all(), 0);
  EXPECT_EQ(oracle_.adopt(0, found), "");
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
  judge_reads();
  stop_mirror();
  power_.on_event = nullptr;
  compare_legs();
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

int MirrorRun::flush_all() {
  TestTag tag(ring_);
  Task flushing = mirror_->submit(tag.make(Op::flush, 0, uint64_t{0}));
  perform_until(flushing);
  return flushing.status().error();
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
  return lies_apart(running_, running);
}

void MirrorRun::collect() {
  collect_ended(running_, [this](Running& ended) { end(ended); });
}

void MirrorRun::end(Running& ended) {
  const int error = ended.task->status().error();
  ended.task.reset();
  if (error != 0) {
    EXPECT_TRUE(error == EIO || error == ENOSPC || error == ENODEV) << to_string(ended.op) << error;
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

// Data may be lost if a flush has failed on the last leg. Then flushes fail ever after.
void MirrorRun::judge_reads() {
  if (wrong_.empty()) return;
  EXPECT_NE(flush_all(), 0) << wrong_;
}

}  // namespace sluice::test
