#include "model/qcow2_run.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "model/in_flight.hpp"
#include "model/qcow2_run_verbs.hpp"

namespace sluice::test {
namespace {

using qcow2::Qcow2Target;

constexpr uint64_t kDiskBlock = BlockOracle::kBlock;
constexpr size_t kAtOnce = 8;

std::unique_ptr<Qcow2Target> make_image(const std::vector<std::byte>& bytes,
                                        const qcow2::Image::Options& options,
                                        Qcow2Target::Parts parts) {
  auto header = qcow2::parse_header(bytes, bytes.size());
  if (!header) throw std::runtime_error(header.error().text);
  return std::make_unique<Qcow2Target>(options, *header, std::move(parts));
}

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
      oracle_(std::move(oracle)),
      may_fail_(setup.fails_each != 0),
      until_cut_(events_to_cut()),
      cuts_left_(setup.cuts),
      disk_(make_disk(content.image)),
      data_(setup.image.data_file.empty() ? nullptr : make_disk(content.data)),
      backing_(setup.image.backing.empty() ? nullptr : make_disk(content.backing)),
      backing_file_(memfd_create("backing", MFD_CLOEXEC)),
      image_(setup.image) {
  const uint64_t cache_bytes = random_() % 2 == 0 ? 0 : 1 << 20;
  Spec spec{.target = "qcow2"};
  spec.set("file", image_.is_below ? image_.backing : std::string("image.qcow2"));
  spec.set("cache", cache_bytes);
  const qcow2::Image::Options writable{
      .name = "image", .writable = true, .cache_bytes = cache_bytes};
  std::unique_ptr<Qcow2Target> active;
  if (image_.is_below) {
    active = make_image(content.backing, writable,
                        {.storage = open_backing(true), .data = {}, .backing = {}});
  } else {
    Qcow2Target::Parts parts{.storage = std::make_unique<OpenedDisk>(*disk_, Descriptor(), true),
                             .data = {},
                             .backing = {}};
    if (data_ != nullptr) {
      parts.data = std::make_unique<OpenedDisk>(*data_, Descriptor(), true);
    }
    if (backing_ != nullptr) parts.backing = open_below(content.backing);
    active = make_image(content.image, writable, std::move(parts));
  }
  target_ = std::make_unique<qcow2::Chain>(spec, spec.text("file"), std::move(active));
}

Qcow2Run::~Qcow2Run() = default;

std::unique_ptr<VolatileDisk> Qcow2Run::make_disk(const Bytes& bytes) {
  const Bytes blocks = in_whole_blocks(bytes);
  auto disk = std::make_unique<VolatileDisk>(power_, blocks.size(), random_() % 2 == 0);
  if (random_() % 4 != 0) disk->offer_discard();
  disk->load(blocks);
  return disk;
}

std::unique_ptr<Target> Qcow2Run::open_below(const Bytes& bytes) const {
  auto storage = open_backing(false);
  if (image_.backing_format == "raw") return storage;
  return make_image(bytes, {.name = "base"},
                    {.storage = std::move(storage), .data = {}, .backing = {}});
}

// Each time another open file, as a command would bring it.
std::unique_ptr<Target> Qcow2Run::open_backing(bool writable) const {
  const std::string path = fmt::format("/proc/self/fd/{}", backing_file_.number());
  Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  return std::make_unique<OpenedDisk>(*backing_, std::move(file), writable);
}

// --- What is on the disks

Qcow2Run::Content Qcow2Run::left_on_disks(VolatileDisk::Left left) {
  const auto left_on = [&](const std::unique_ptr<VolatileDisk>& disk) {
    return disk == nullptr ? Bytes() : disk->after_cut(left, random_);
  };
  return {.image = left_on(disk_), .data = left_on(data_), .backing = left_on(backing_)};
}

void Qcow2Run::write_files(const std::string& name, const Content& content) const {
  setup_.folder.write(name, content.image);
  if (data_ != nullptr) setup_.folder.write(image_.data_file, content.data);
  if (backing_ != nullptr) setup_.folder.write(image_.backing, content.backing);
}

void Qcow2Run::set_failures(const std::function<int(const Request&, const VolatileDisk&)>& fails) {
  for (VolatileDisk* const disk : {disk_.get(), data_.get(), backing_.get()}) {
    if (disk == nullptr) continue;
    disk->fails = nullptr;
    if (fails) disk->fails = [=](const Request& request) { return fails(request, *disk); };
  }
}

void Qcow2Run::run(int steps) {
  power_.on_event = [this] { maybe_cut(); };
  start_target();
  EXPECT_EQ(oracle_.check(0, read_all()), "");
  if (may_fail_) {
    set_failures([this](const Request& request, const VolatileDisk& disk) {
      return failure_of(request, disk);
    });
  }
  for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
    maybe_start_verb();
    maybe_commit();
    if (running_.size() < kAtOnce && (verb_ == nullptr || verb_->is_commit)) start();
    step();
  }
  while ((!running_.empty() || verb_ != nullptr) && !testing::Test::HasFailure()) step();
  if (testing::Test::HasFailure()) return;
  set_failures(nullptr);
  stop_target();
  power_.on_event = nullptr;
  while (!cuts_.empty()) check_next();
  if (testing::Test::HasFailure()) return;
  write_files("stopped.qcow2", left_on_disks(VolatileDisk::Left::newest));
  check_uncertain("stopped.qcow2", uncertain_, image_);
  const Bytes found =
      examine_image(setup_.folder, "stopped.qcow2", image_, setup_.may_leak || may_fail_);
  if (found.size() != oracle_.size_bytes()) ADD_FAILURE() << "it has " << found.size();
  // What a failing disk has not taken is lost, as after a power cut.
  EXPECT_EQ(may_fail_ ? oracle_.adopt(0, found) : oracle_.check(0, found), "");
}

// --- Life

void Qcow2Run::start_target() {
  // Jobs begin at once, on our ring.
  static const auto control = ControlReactor::start();
  ASSERT_TRUE(control.has_value()) << control.error().text;
  ASSERT_TRUE(jobs_.begin(**control).ok());
  for (const auto purpose : {LifeCall::Purpose::look, LifeCall::Purpose::serve}) {
    LifeRequest life(ring_);
    LifeCall call{.purpose = purpose, .jobs = &jobs_};
    Task starting = target_->start(life.request, call);
    perform_until(starting);
    ASSERT_EQ(starting.status().error(), 0) << call.why;
    if (purpose == LifeCall::Purpose::serve) return;
    Task stopping = target_->stop(life.request, call);
    perform_until(stopping);
    EXPECT_EQ(stopping.status().error(), 0);
  }
}

void Qcow2Run::stop_target() {
  LifeRequest life(ring_);
  Task ending = jobs_.end_some(life.request, jobs_.all());
  perform_until(ending);
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
  return lies_apart(running_, running);
}

void Qcow2Run::collect() {
  collect_ended(running_, [this](Running& ended) { end(ended); });
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

// What the backing file loses while the image is committed is in the image still.
int Qcow2Run::failure_of(const Request& request, const VolatileDisk& disk) {
  if (request.op == Op::flush) {
    if (random_() % (setup_.fails_each / 4 + 1) != 0) return 0;
    if (&disk != backing_.get() || image_.is_below) has_lost_ = true;
    return EIO;
  }
  if (random_() % setup_.fails_each != 0) return 0;
  return request.changes_data() && random_() % 2 == 0 ? ENOSPC : EIO;
}

// --- Power cuts

// So that the cuts are spread over the run.
int Qcow2Run::events_to_cut() {
  const auto most = static_cast<uint64_t>(setup_.events / std::max(setup_.cuts, 8));
  return 1 + static_cast<int>(random_() % most);
}

// Called by the disk.
void Qcow2Run::maybe_cut() {
  if (cuts_left_ == 0 || --until_cut_ > 0) return;
  until_cut_ = events_to_cut();
  --cuts_left_;
  if (is_committing()) ++setup_.counts.commit_cuts;
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
  next.fails_each = 0;
  next.may_leak = true;
  next.cuts = setup_.depth == 0 ? 2 : 0;
  next.events = 2400;
  ++next.depth;
  Qcow2Run run(next, random_(), cut.content, std::move(cut.oracle));
  run.run(setup_.commits ? 800 : 200);
}

// The contents of the disk.
Qcow2Run::Bytes Qcow2Run::examine(Cut& cut, bool by_qemu) {
  EXPECT_EQ(corruptions_of(cut.content.image), "");
  if (image_.backing_format == "qcow2") EXPECT_EQ(corruptions_of(cut.content.backing), "");
  if (!by_qemu) {
    Setup next = setup_;
    next.image = cut.image;
    next.cuts = 0;
    return Qcow2Run(next, random_(), cut.content, cut.oracle).look();
  }
  const std::string name = fmt::format("cut{}.qcow2", setup_.depth);
  write_files(name, cut.content);
  check_uncertain(name, cut.verbs, cut.image);
  return examine_image(setup_.folder, name, cut.image, true);
}

Qcow2Run::Bytes Qcow2Run::look() {
  start_target();
  Bytes found = read_all();
  stop_target();
  return found;
}

}  // namespace sluice::test
