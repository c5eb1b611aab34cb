#include "model/qcow2_run.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "model/qcow2_run_verbs.hpp"

namespace sluice::test {
namespace {

using qcow2::Qcow2Target;

constexpr uint64_t kDiskBlock = BlockOracle::kBlock;
constexpr size_t kAtOnce = 8;

// The last block of an image may be there in part.
std::vector<std::byte> in_whole_blocks(std::vector<std::byte> bytes) {
  bytes.resize((bytes.size() + kDiskBlock - 1) / kDiskBlock * kDiskBlock);
  return bytes;
}

}  // namespace

struct Qcow2Run::Running {
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

Qcow2Run::Qcow2Run(const Setup& setup, uint64_t seed, const Content& content, BlockOracle oracle)
    : setup_(setup),
      random_(seed),
      power_(random_()),
      backing_power_(random_()),
      oracle_(std::move(oracle)),
      may_fail_(setup.fails),
      until_cut_(events_to_cut()),
      cuts_left_(setup.cuts),
      image_(setup.image) {
  auto disk = make_disk(content.image);
  disk_ = disk.get();
  std::unique_ptr<VolatileDisk> data;
  if (!setup.image.data_file.empty()) data = make_disk(content.data);
  data_ = data.get();
  std::unique_ptr<Target> backing;
  if (!setup.image.backing.empty()) backing = open_backing();
  auto header = qcow2::parse_header(content.image, content.image.size());
  if (!header) throw std::runtime_error(header.error().text);
  const uint64_t cache_bytes = random_() % 2 == 0 ? 0 : 1 << 20;
  target_ = std::make_unique<Qcow2Target>(
      qcow2::Image::Options{.name = "image", .writable = true, .cache_bytes = cache_bytes}, *header,
      Qcow2Target::Parts{
          .storage = std::move(disk), .data = std::move(data), .backing = std::move(backing)});
}

Qcow2Run::~Qcow2Run() = default;

std::unique_ptr<VolatileDisk> Qcow2Run::make_disk(const Bytes& bytes) {
  const Bytes blocks = in_whole_blocks(bytes);
  auto disk = std::make_unique<VolatileDisk>(power_, blocks.size(), random_() % 2 == 0);
  if (random_() % 4 != 0) disk->offer_discard();
  disk->load(blocks);
  return disk;
}

Qcow2Run::Content Qcow2Run::left_on_disks(VolatileDisk::Left left) {
  return {.image = disk_->after_cut(left, random_),
          .data = data_ == nullptr ? Bytes() : data_->after_cut(left, random_)};
}

std::unique_ptr<Target> Qcow2Run::open_backing() {
  const Bytes bytes = in_whole_blocks(setup_.folder.read(setup_.image.backing));
  auto disk = std::make_unique<VolatileDisk>(backing_power_, bytes.size(), false);
  disk->load(bytes);
  if (setup_.image.backing_format == "raw") return disk;
  auto header = qcow2::parse_header(bytes, bytes.size());
  if (!header) throw std::runtime_error(header.error().text);
  auto target = std::make_unique<Qcow2Target>(
      qcow2::Image::Options{.name = "base"}, *header,
      Qcow2Target::Parts{.storage = std::move(disk), .data = nullptr, .backing = nullptr});
  start_target(*target);
  return target;
}

void Qcow2Run::run(int steps) {
  power_.on_event = [this] { maybe_cut(); };
  start_target(*target_);
  EXPECT_EQ(oracle_.check(0, read_all()), "");
  for (VolatileDisk* const disk : {disk_, data_}) {
    if (!may_fail_ || disk == nullptr) continue;
    disk->fails = [this](const Request& request) { return failure_of(request); };
  }
  for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
    maybe_start_verb();
    if (running_.size() < kAtOnce && verb_ == nullptr) start();
    step();
  }
  while ((!running_.empty() || verb_ != nullptr) && !testing::Test::HasFailure()) step();
  if (testing::Test::HasFailure()) return;
  disk_->fails = nullptr;
  if (data_ != nullptr) data_->fails = nullptr;
  stop_target();
  power_.on_event = nullptr;
  while (!cuts_.empty()) check_next();
  if (testing::Test::HasFailure()) return;
  const Content content = left_on_disks(VolatileDisk::Left::newest);
  setup_.folder.write("stopped.qcow2", content.image);
  if (data_ != nullptr) setup_.folder.write(setup_.image.data_file, content.data);
  check_uncertain("stopped.qcow2", uncertain_, image_);
  const Bytes found =
      examine_image(setup_.folder, "stopped.qcow2", image_, setup_.may_leak || may_fail_);
  if (found.size() != oracle_.size_bytes()) ADD_FAILURE() << "it has " << found.size();
  // What a failing disk has not taken is lost, as after a power cut.
  EXPECT_EQ(may_fail_ ? oracle_.adopt(0, found) : oracle_.check(0, found), "");
}

// --- Life

void Qcow2Run::start_target(Qcow2Target& target) {
  for (const auto purpose : {LifeCall::Purpose::look, LifeCall::Purpose::serve}) {
    LifeRequest life(ring_);
    LifeCall call{.purpose = purpose};
    Task starting = target.start(life.request, call);
    perform_until(starting);
    ASSERT_EQ(starting.status().error(), 0) << call.why;
    if (purpose == LifeCall::Purpose::serve) return;
    Task stopping = target.stop(life.request, call);
    perform_until(stopping);
    EXPECT_EQ(stopping.status().error(), 0);
  }
}

void Qcow2Run::stop_target() {
  LifeRequest life(ring_);
  LifeCall call;
  Task stopping = target_->stop(life.request, call);
  perform_until(stopping);
  if (!may_fail_) EXPECT_EQ(stopping.status().error(), 0);
}

void Qcow2Run::perform_until(const Task& task) {
  ring_.settle();
  while (!task.finished() && ring_.pending() != 0) ring_.perform(random_() % ring_.pending());
  ASSERT_TRUE(task.finished()) << "it waits for ever";
}

Qcow2Run::Bytes Qcow2Run::read_all() {
  Bytes bytes(oracle_.size_bytes());
  TestTag tag(ring_);
  Task task = target_->submit(tag.make(Op::read, 0, std::span(bytes)));
  perform_until(task);
  EXPECT_EQ(task.status().error(), 0);
  return bytes;
}

// --- Requests

void Qcow2Run::step() {
  ring_.settle();
  if (ring_.pending() != 0) ring_.perform(random_() % ring_.pending());
  collect();
  collect_verb();
  const bool waits = !running_.empty() || verb_ != nullptr;
  if (ring_.pending() == 0 && waits) ADD_FAILURE() << "a request waits for ever";
  while (!cuts_.empty()) check_next();
}

void Qcow2Run::start() {
  auto running = std::make_unique<Running>(ring_);
  Running& now = *running;
  now.op = random_op();
  if (now.op != Op::flush && !choose_range(now)) return;
  now.begun_at = oracle_.time();
  const bool data = now.op == Op::read || now.op == Op::write;
  if (data) now.memory.resize(now.length);
  if (now.op == Op::write) {
    const uint64_t number = oracle_.new_number();
    BlockOracle::fill(number, now.offset, now.memory);
    oracle_.begin(number, now.offset, now.length);
    now.fua = random_() % 30 == 0;
  }
  if (now.op == Op::discard || now.op == Op::write_zeroes) {
    oracle_.begin(0, now.offset, now.length);
  }
  Request& request = data ? now.tag.make(now.op, now.offset, std::span(now.memory))
                          : now.tag.make(now.op, now.offset, now.length);
  request.fua = now.fua;
  request.may_unmap = random_() % 2 == 0;
  now.task.emplace(target_->submit(request));
  running_.push_back(std::move(running));
  ++setup_.counts.requests;
}

Op Qcow2Run::random_op() {
  const uint64_t dice = random_() % 100;
  if (dice < 20) return Op::read;
  if (dice < 65) return Op::write;
  if (dice < 77) return Op::discard;
  return dice < 91 ? Op::write_zeroes : Op::flush;
}

// Often around a few places, so that clusters are changed again and again.
bool Qcow2Run::choose_range(Running& running) {
  const uint64_t blocks = oracle_.size_bytes() / kDiskBlock;
  const uint64_t in_cluster = setup_.image.cluster_bytes / kDiskBlock;
  const uint64_t dice = random_() % 20;
  const uint64_t most = dice == 0 ? 2048 : dice < 6 ? 4 * in_cluster : in_cluster + in_cluster / 2;
  uint64_t first = random_() % blocks;
  if (random_() % 2 == 0) first %= std::min(blocks, 40 * in_cluster);
  uint64_t count = std::min(1 + random_() % std::max<uint64_t>(most, 1), blocks - first);
  if (random_() % 3 == 0) {
    first = first / in_cluster * in_cluster;
    count = std::min((count + in_cluster - 1) / in_cluster * in_cluster, blocks - first);
  }
  running.offset = first * kDiskBlock;
  running.length = count * kDiskBlock;
  return std::ranges::none_of(running_, [&](const auto& other) {
    return running.offset < other->offset + other->length &&
           other->offset < running.offset + running.length;
  });
}

void Qcow2Run::collect() {
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

void Qcow2Run::end(Running& ended) {
  const int error = ended.task->status().error();
  ended.task.reset();
  if (error != 0) {
    EXPECT_TRUE(may_fail_ && (error == EIO || error == ENOSPC)) << to_string(ended.op) << error;
    ++setup_.counts.failed;
    return;
  }
  if (ended.op == Op::read && !has_lost_) {
    EXPECT_EQ(oracle_.check(ended.offset, ended.memory), "");
  }
  if (ended.op == Op::write || ended.op == Op::write_zeroes) {
    oracle_.end(ended.offset, ended.length, ended.fua);
  }
  if (ended.op == Op::flush) oracle_.flushed(ended.begun_at);
}

int Qcow2Run::failure_of(const Request& request) {
  if (request.op == Op::flush) {
    if (random_() % 40 != 0) return 0;
    has_lost_ = true;
    return EIO;
  }
  if (random_() % 150 != 0) return 0;
  return request.changes_data() && random_() % 2 == 0 ? ENOSPC : EIO;
}

// --- Power cuts

// So that the cuts are spread over the run.
int Qcow2Run::events_to_cut() {
  constexpr uint64_t kEvents = 2400;
  const uint64_t most = kEvents / static_cast<uint64_t>(std::max(setup_.cuts, 8));
  return 1 + static_cast<int>(random_() % most);
}

// Called by the disk.
void Qcow2Run::maybe_cut() {
  if (cuts_left_ == 0 || --until_cut_ > 0) return;
  until_cut_ = events_to_cut();
  --cuts_left_;
  cuts_.push_back({oracle_, left_on_disks(VolatileDisk::Left::any), image_, uncertain_});
}

void Qcow2Run::check_next() {
  Cut cut = std::move(cuts_.back());
  cuts_.pop_back();
  if (testing::Test::HasFailure()) return;
  SCOPED_TRACE(fmt::format("after power cut {}", ++setup_.counts.cuts));
  const bool by_qemu = setup_.counts.cuts % setup_.qemu_each == 0;
  const Bytes found = examine(cut, by_qemu);
  if (testing::Test::HasFailure()) return;
  ASSERT_EQ(found.size(), oracle_.size_bytes());
  ASSERT_EQ(cut.oracle.adopt(0, found), "");
  if (!by_qemu) return;
  ++setup_.counts.judged;
  Setup next = setup_;
  next.image = std::move(cut.image);
  next.fails = false;
  next.may_leak = true;
  next.cuts = setup_.depth == 0 ? 2 : 0;
  ++next.depth;
  Qcow2Run run(next, random_(), cut.content, std::move(cut.oracle));
  run.run(200);
}

// The contents of the disk.
Qcow2Run::Bytes Qcow2Run::examine(Cut& cut, bool by_qemu) {
  EXPECT_EQ(corruptions_of(cut.content.image), "");
  if (!by_qemu) {
    Setup next = setup_;
    next.cuts = 0;
    return Qcow2Run(next, random_(), cut.content, cut.oracle).look();
  }
  const std::string name = fmt::format("cut{}.qcow2", setup_.depth);
  setup_.folder.write(name, cut.content.image);
  if (data_ != nullptr) setup_.folder.write(setup_.image.data_file, cut.content.data);
  check_uncertain(name, cut.verbs, cut.image);
  return examine_image(setup_.folder, name, cut.image, true);
}

Qcow2Run::Bytes Qcow2Run::look() {
  start_target(*target_);
  Bytes found = read_all();
  stop_target();
  return found;
}

}  // namespace sluice::test
