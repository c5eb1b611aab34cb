#include "model/thin_volume_run.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "model/in_flight.hpp"
#include "model/qcow2_run_verbs.hpp"
#include "model/thin_volume_parts.hpp"
#include "model/volatile_blocks.hpp"
#include "target/life/control_reactor.hpp"

namespace sluice::test {
namespace {

using thin::Pool;
using thin::PoolOptions;
using thin::ThinTarget;

constexpr uint64_t kThinSector = BlockOracle::kBlock;
constexpr uint64_t kThinBlock = 64 << 10;
constexpr size_t kThinRequests = 8;
constexpr int kHops = 8;

// What a VolatileDisk changes is seen as soon as it is asked to. This one takes its time before,
// now and then a long time, so that what should have waited for the end of a request comes first.
class LateDisk final : public Target {
 public:
  explicit LateDisk(VolatileDisk& disk) : disk_(disk) {
    geometry_ = disk.geometry();
    geometry_.needs_bytes = false;
  }

 private:
  Task do_submit(Request& request) override {
    return request.changes_data() ? change(request) : disk_.submit(request);
  }
  Task change(Request& request) {
    for (int left = ++changes_ % kLateEach == 0 ? kLateSteps : 1; left != 0; --left) {
      auto pause = request.ring->sleep(std::chrono::milliseconds(1));
      if (const Status status = co_await pause; !status.ok()) co_return status;
    }
    Task changing = disk_.submit(request);
    co_return co_await changing;
  }

  static constexpr uint64_t kLateEach = 7;
  static constexpr int kLateSteps = 30;

  VolatileDisk& disk_;
  uint64_t changes_ = 0;
};

Target::Children opened(VolatileDisk& metadata, VolatileDisk& data) {
  Target::Children children;
  children.push_back(std::make_unique<OpenedDisk>(metadata, Descriptor(), true));
  children.push_back(std::make_unique<LateDisk>(data));
  return children;
}

}  // namespace

ThinVolumeRun::State ThinVolumeRun::make(const Shape& shape) {
  VolatileBlocks device(VolatileBlocks::Bytes(shape.metadata_blocks * persistent::kBlockBytes));
  auto made = persistent::Transaction::create(
      device, {.metadata_blocks = shape.metadata_blocks, .data_blocks = shape.data_blocks});
  if (!made) throw std::runtime_error(made.error().text);
  for (size_t i = 0; i < kVolumes; ++i) std::ignore = (*made)->create_device(thin_id_of(i));
  if (!(*made)->commit(device)) throw std::runtime_error("no pool");
  State state{.disks = {.metadata = device.newest(), .data = Bytes(shape.data_blocks * kThinBlock)},
              .oracles = {}};
  // What was on the data device before is never seen.
  std::ranges::fill(state.disks.data, std::byte{0xAB});
  for (size_t i = 0; i < kVolumes; ++i)
    state.oracles.emplace_back(shape.volume_blocks * kThinBlock);
  return state;
}

ThinVolumeRun::ThinVolumeRun(const Setup& setup, uint64_t seed, State state)
    : setup_(setup),
      random_(seed),
      power_(random_()),
      state_(std::move(state)),
      until_cut_(events_to_cut()),
      cuts_left_(setup.cuts) {
  const auto make_disk = [&](const Bytes& bytes) {
    auto disk = std::make_unique<VolatileDisk>(power_, bytes.size(), random_() % 2 == 0);
    if (random_() % 4 != 0) disk->offer_discard();
    disk->load(bytes);
    return disk;
  };
  metadata_ = make_disk(state_.disks.metadata);
  data_ = make_disk(state_.disks.data);
  if (!state_.snapshots.empty()) next_id_ = state_.snapshots.rbegin()->first + 1;
}

ThinVolumeRun::~ThinVolumeRun() = default;

void ThinVolumeRun::run(int steps) {
  power_.on_event = [this] { maybe_cut(); };
  start_pool();
  if (testing::Test::HasFailure()) return;
  for (size_t i = 0; i < kVolumes; ++i) {
    BlockOracle& oracle = state_.oracles[i];
    EXPECT_EQ(oracle.check(0, read_all(*served_->volumes[i], oracle.size_bytes())), "") << i;
  }
  if (setup_.shape.fails_each != 0) {
    for (VolatileDisk* const disk : {metadata_.get(), data_.get()}) {
      disk->fails = [this](const Request& request) { return failure_of(request); };
    }
  }
  for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
    maybe_start_verb();
    if (running_.size() < kThinRequests && verb_ == nullptr) start();
    step();
  }
  while ((!running_.empty() || verb_ != nullptr) && !testing::Test::HasFailure()) step();
  if (testing::Test::HasFailure()) return;
  metadata_->fails = data_->fails = nullptr;
  for (const auto& [id, content] : state_.snapshots) {
    const Bytes found = read_snapshot(id);
    if (!has_lost_) EXPECT_EQ(found, content) << id;
  }
  stop_pool();
  power_.on_event = nullptr;
  while (!cuts_.empty()) check_next();
  if (testing::Test::HasFailure()) return;
  examine({.metadata = metadata_->after_cut(VolatileDisk::Left::newest, random_), .data = {}});
}

// --- Life

void ThinVolumeRun::start_pool() {
  static const auto control = ControlReactor::start();  // jobs begin at once, on our ring
  ASSERT_TRUE(control.has_value()) << control.error().text;
  ASSERT_TRUE(jobs_.begin(**control).ok());
  served_ = std::make_unique<Served>();
  PoolOptions options{.cache_bytes = 0,
                      .mapping_bytes = random_() % 2 == 0 ? 0U : 1U << 20,
                      .no_space_timeout = std::chrono::nanoseconds(0)};
  options.discards = random_() % 3 == 0 ? thin::Discards::unmap : thin::Discards::pass;
  Target::Children devices = opened(*metadata_, *data_);
  served_->pool = std::make_shared<Pool>(options, *devices[0], *devices[1]);
  for (size_t i = 0; i < kVolumes; ++i) {
    served_->volumes.push_back(std::make_unique<ThinTarget>(
        i == 0 ? std::move(devices) : Target::Children(), served_->pool,
        ThinTarget::Shape{.id = thin_id_of(i), .size_bytes = state_.oracles[i].size_bytes()}));
  }
  for (const auto& volume : served_->volumes) {
    LifeRequest life(ring_);
    LifeCall call{.jobs = &jobs_};
    Task starting = volume->start(life.request, call);
    perform_until(starting);
    ASSERT_EQ(starting.status().error(), 0) << call.why;
  }
}

void ThinVolumeRun::stop_pool() {
  LifeRequest life(ring_);
  Task ending = jobs_.end_some(life.request, jobs_.all());
  perform_until(ending);
  LifeCall call;
  for (size_t i = kVolumes; i-- != 0;) {
    Task stopping = served_->volumes[i]->stop(life.request, call);
    perform_until(stopping);
    if (!served_->pool->transaction().is_read_only()) EXPECT_EQ(stopping.status().error(), 0);
  }
  ring_.perform_all();  // what has cancelled the pause of the job
}

void ThinVolumeRun::perform_until(const Task& task) {
  ring_.settle();
  while (!task.finished() && ring_.pending() != 0) ring_.perform(random_() % ring_.pending());
  ASSERT_TRUE(task.finished()) << "it waits for ever";
}

ThinVolumeRun::Bytes ThinVolumeRun::read_all(Target& target, uint64_t bytes) {
  Bytes found(bytes);
  TestTag tag(ring_);
  Task task = target.submit(tag.make(Op::read, 0, std::span(found)));
  perform_until(task);
  EXPECT_EQ(task.status().error(), 0);
  return found;
}

ThinVolumeRun::Bytes ThinVolumeRun::read_snapshot(uint64_t id) {
  const uint64_t bytes = state_.oracles[0].size_bytes();
  ThinTarget volume({}, served_->pool,
                    {.id = static_cast<uint32_t>(id), .size_bytes = bytes, .read_only = true});
  LifeRequest life(ring_);
  LifeCall call;
  Task starting = volume.start(life.request, call);
  perform_until(starting);
  EXPECT_EQ(starting.status().error(), 0) << call.why;
  if (!starting.status().ok()) return {};
  Bytes found = read_all(volume, bytes);
  Task stopping = volume.stop(life.request, call);
  perform_until(stopping);
  return found;
}

// --- Requests

void ThinVolumeRun::step() {
  ring_.settle();
  if (ring_.pending() != 0) ring_.perform(random_() % ring_.pending());
  // What has ended may let others go on, which shows when the ring runs again.
  const auto waits = [&] { return !running_.empty() || verb_ != nullptr; };
  for (int i = 0; i == 0 || (i < kHops && ring_.pending() == 0 && waits()); ++i) {
    ring_.settle();
    collect();
    collect_verb();
  }
  if (ring_.pending() == 0 && waits()) ADD_FAILURE() << "a request waits for ever";
  while (!cuts_.empty()) check_next();
}

void ThinVolumeRun::start() {
  auto running = std::make_unique<Running>(ring_);
  Running& now = *running;
  const uint64_t dice = random_() % 100;
  now.op = dice < 20   ? Op::read
           : dice < 70 ? Op::write
           : dice < 80 ? Op::discard
           : dice < 90 ? Op::write_zeroes
                       : Op::flush;
  now.volume = random_() % kVolumes;
  BlockOracle& oracle = state_.oracles[now.volume];
  if (now.op != Op::flush && !choose_range(now)) return;
  for (const BlockOracle& each : state_.oracles) now.begun_at.push_back(each.time());
  const bool has_data = now.op == Op::read || now.op == Op::write;
  if (has_data) now.memory.resize(now.length);
  if (now.op == Op::write) {
    now.number = oracle.new_number();
    BlockOracle::fill(now.number, now.offset, now.memory);
    oracle.begin(now.number, now.offset, now.length);
    now.fua = random_() % 15 == 0;
  }
  if (now.op == Op::discard || now.op == Op::write_zeroes) {
    oracle.begin(0, now.offset, now.length);
  }
  Request& request = has_data ? now.tag.make(now.op, now.offset, std::span(now.memory))
                              : now.tag.make(now.op, now.offset, now.length);
  request.fua = now.fua;
  request.may_unmap = random_() % 2 == 0;
  now.task.emplace(served_->volumes[now.volume]->submit(request));
  running_.push_back(std::move(running));
  ++setup_.counts.requests;
}

// Often at a few places, and often whole blocks.
bool ThinVolumeRun::choose_range(Running& running) {
  const uint64_t blocks = state_.oracles[0].size_bytes() / kThinSector;
  constexpr uint64_t kInBlock = kThinBlock / kThinSector;
  const uint64_t most = random_() % 4 == 0 ? 6 * kInBlock : kInBlock + kInBlock / 2;
  uint64_t first = random_() % blocks;
  if (random_() % 2 == 0) first %= 30 * kInBlock;
  uint64_t count = std::min(1 + random_() % most, blocks - first);
  if (random_() % 3 == 0) {
    first = first / kInBlock * kInBlock;
    count = std::min((count + kInBlock - 1) / kInBlock * kInBlock, blocks - first);
  }
  running.offset = first * kThinSector;
  running.length = count * kThinSector;
  return std::ranges::none_of(running_, [&](const auto& other) {
    return running.volume == other->volume && overlap(running, *other);
  });
}

void ThinVolumeRun::collect() {
  collect_ended(running_, [this](Running& ended) { end(ended); });
}

void ThinVolumeRun::end(Running& ended) {
  const int error = ended.task->status().error();
  ended.task.reset();
  BlockOracle& oracle = state_.oracles[ended.volume];
  if (error != 0) {
    EXPECT_TRUE(error == ENOSPC || (error == EIO && setup_.shape.fails_each != 0))
        << to_string(ended.op) << error;
    ++setup_.counts.failed;
    return;
  }
  switch (ended.op) {
    case Op::read:
      if (!has_lost_) EXPECT_EQ(oracle.check(ended.offset, ended.memory), "");
      break;
    case Op::write:
    case Op::write_zeroes:
      oracle.end(ended.offset, ended.length, ended.fua);
      break;
    case Op::flush:
      // It is the pool's, so that it holds for all of its volumes.
      for (size_t i = 0; i < kVolumes; ++i) state_.oracles[i].flushed(ended.begun_at[i]);
      break;
    default:
      break;
  }
}

int ThinVolumeRun::failure_of(const Request& request) {
  const uint64_t each = setup_.shape.fails_each / (request.op == Op::flush ? 4 : 1);
  if (random_() % (each + 1) != 0) return 0;
  has_lost_ |= request.op == Op::flush;
  return EIO;
}

}  // namespace sluice::test
