#include "model/metadata_world.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "ring/kernel_ring.hpp"

namespace sluice::test {
namespace {

constexpr uint64_t kSector = VolatileDisk::kSector;

SectorStamp stamp_of(std::span<const std::byte> sector) {
  SectorStamp stamp;
  std::memcpy(&stamp, sector.data(), sizeof(stamp));
  return stamp;
}

}  // namespace

MetadataWorld::Shape MetadataWorld::choose(uint64_t seed, bool errors) {
  Random random(seed);
  Shape shape;
  shape.block_bytes = uint32_t{512} << random() % 4;
  shape.cached = 2 + random() % 3;
  if (random() % 4 == 0) shape.cached = 12;
  shape.blocks = 2 + random() % 10;
  shape.in_flight = 1 + random() % 4;
  shape.data_elsewhere = random() % 2 == 0;
  shape.errors = errors;
  shape.users = 1 + static_cast<int>(random() % 6);
  // There must be fewer users that hold one pin and wait for another than slots.
  shape.pins = shape.users < static_cast<int>(shape.cached) ? 2 : 1;
  return shape;
}

MetadataWorld::MetadataWorld(uint64_t seed, const Shape& shape)
    : shape_(shape),
      random_(seed),
      power_(random_()),
      disk_(power_, shape.blocks * shape.block_bytes + kDataSectors * kSector, random_() % 2 == 0),
      elsewhere_(power_, kDataSectors * kSector, false),
      data_disk_(shape.data_elsewhere ? elsewhere_ : disk_),
      next_(shape.blocks),
      current_(shape.blocks),
      published_(shape.blocks),
      durable_(shape.blocks),
      data_begun_(kDataSectors),
      data_done_(kDataSectors) {
  cache_ = std::move(
      *MetadataCache::create(disk_, {.block_bytes = shape.block_bytes,
                                     .blocks = shape.cached,
                                     .writes_in_flight = shape.in_flight,
                                     .data = shape.data_elsewhere ? &elsewhere_ : nullptr}));
  for (int i = 0; i < shape.users; ++i) of_users_.emplace_back(random_());
  errors_now_ = shape.errors;
  may_fail_ = shape.errors;
  const auto fails = [this](const Request& request) { return fate(request); };
  disk_.fails = elsewhere_.fails = fails;
  std::vector<std::byte> blank(disk_.geometry().size_bytes);
  for (uint64_t i = 0; i < shape.blocks; ++i) {
    stamp(std::span(blank).subspan(i * shape.block_bytes, shape.block_bytes), i, 0);
  }
  disk_.load(blank);
  power_.on_event = [this] { cut(); };
}

MetadataWorld::~MetadataWorld() { power_.on_event = nullptr; }

std::string MetadataWorld::text() const {
  return fmt::format("{} of {} blocks of {} bytes, {} in flight, {} users with {} pins, data {}{}",
                     shape_.cached, shape_.blocks, shape_.block_bytes, shape_.in_flight,
                     shape_.users, shape_.pins, shape_.data_elsewhere ? "elsewhere" : "beside",
                     shape_.errors ? ", errors" : "");
}

void MetadataWorld::run(int steps) {
  ManualRing ring(256, 512);
  std::vector<std::unique_ptr<TestTag>> tags;
  std::vector<std::unique_ptr<Task>> tasks;
  for (int i = 0; i < shape_.users; ++i) {
    tags.push_back(std::make_unique<TestTag>(ring));
    tasks.push_back(
        std::make_unique<Task>(user(tags.back()->make(Op::flush, 0, uint64_t{0}), i, steps)));
  }
  Random order(of_users_[0]());
  for (ring.settle(); ring.pending() != 0;) ring.perform(order() % ring.pending());
  for (const auto& task : tasks) {
    if (task->finished()) continue;
    fmt::print("a user waits for ever\n");
    std::abort();  // no orderly end is possible
  }
}

void MetadataWorld::run_on_threads(int threads, int steps) {
  on_threads_ = true;
  std::vector<std::thread> all;
  for (int thread = 0; thread < threads; ++thread) {
    all.emplace_back([&, thread] {
      auto ring = std::move(*KernelRing::create({}));
      std::vector<std::unique_ptr<TestTag>> tags;
      std::vector<std::unique_ptr<Task>> tasks;
      for (int i = thread; i < shape_.users; i += threads) {
        tags.push_back(std::make_unique<TestTag>(*ring));
        tasks.push_back(
            std::make_unique<Task>(user(tags.back()->make(Op::flush, 0, uint64_t{0}), i, steps)));
      }
      for (const auto& task : tasks) {
        while (!task->finished()) ring->run_once(true);
      }
    });
  }
  for (std::thread& thread : all) thread.join();
}

void MetadataWorld::finish() {
  {
    const std::scoped_lock guard(power_.mutex);
    errors_now_ = false;
  }
  cache_->forgive();
  ManualRing ring;
  TestTag tag(ring);
  Task task = cache_->flush(tag.make(Op::flush, 0, uint64_t{0}));
  ring.perform_all();
  const std::scoped_lock disks(power_.mutex);
  const std::vector<std::byte> left = disk_.after_cut(VolatileDisk::Left::durable, random_);
  const MetadataCache::Stats stats = cache_->stats();
  if (stats.pinned != 0) complain("something is still pinned");
  if (!task.status().ok() && may_fail_) return;  // an earlier flush has failed
  if (!task.status().ok()) complain("the last flush has failed");
  if (stats.dirty != 0 || cache_->failed()) complain("something is still dirty");
  const std::scoped_lock guard(mutex_);
  for (uint64_t i = 0; i < shape_.blocks; ++i) {
    const auto block = std::span(left).subspan(i * shape_.block_bytes, shape_.block_bytes);
    if (stamp_of(block).version == current_[i]) continue;
    failure_ += fmt::format("block {} has version {} in the end and not {}\n", i,
                            stamp_of(block).version, current_[i]);
  }
}

// --- Errors and power cuts.

int MetadataWorld::fate(const Request& request) {
  if (!errors_now_) return 0;
  const uint64_t dice = random_() % 1000;
  if (request.op == Op::flush && dice < 3) lost_ = true;
  if (request.op == Op::flush) return dice < 3 ? EIO : 0;
  return dice < (request.op == Op::write ? 60 : 20) ? EIO : 0;
}

bool MetadataWorld::allowed(Status status, std::string_view what) {
  if (status.ok()) return true;
  if (!may_fail_ || status.error() != EIO) {
    complain(fmt::format("{} ends with errno {}", what, status.error()));
  }
  return false;
}

void MetadataWorld::complain(const std::string& text) {
  const std::scoped_lock guard(mutex_);
  if (failure_.size() < 2000) failure_ += text + "\n";
}

std::string MetadataWorld::failure() const {
  const std::scoped_lock guard(mutex_);
  return failure_;
}

// Checks a power cut at this moment. Call with the disks' mutex held.
void MetadataWorld::cut() {
  using Left = VolatileDisk::Left;
  for (const Left left : {Left::newest, Left::any, Left::any, Left::any}) {
    const Left of_data = left == Left::any ? Left::any : Left::durable;
    const std::vector<std::byte> blocks = disk_.after_cut(left, random_);
    std::vector<std::byte> data =
        shape_.data_elsewhere ? elsewhere_.after_cut(of_data, random_) : blocks;
    check(blocks,
          std::vector(data.begin() + static_cast<std::ptrdiff_t>(data_place()), data.end()));
    ++cuts_;
  }
}

void MetadataWorld::check(const std::vector<std::byte>& blocks,
                          const std::vector<std::byte>& data) {
  struct Found {
    uint64_t oldest = UINT64_MAX;  // of its sectors
    uint64_t newest = 0;
  };
  std::vector<Found> found(shape_.blocks);
  const std::scoped_lock guard(mutex_);
  for (uint64_t i = 0; i < shape_.blocks; ++i) {
    for (uint64_t place = 0; place < shape_.block_bytes; place += kSector) {
      const SectorStamp stamp =
          stamp_of(std::span(blocks).subspan(i * shape_.block_bytes + place, kSector));
      if (stamp.number != i) failure_ += fmt::format("block {} is not itself\n", i);
      found[i].oldest = std::min(found[i].oldest, stamp.version);
      found[i].newest = std::max(found[i].newest, stamp.version);
    }
    if (found[i].oldest >= durable_[i]) continue;
    failure_ += fmt::format("after a cut block {} has version {}; {} was reported durable\n", i,
                            found[i].oldest, durable_[i]);
  }
  std::erase_if(orders_, [&](const Order& order) {
    return !order.data && durable_[order.other] >= order.other_version;
  });
  for (const Order& order : orders_) {
    if (found[order.block].newest < order.version) continue;
    const uint64_t there =
        order.data ? stamp_of(std::span(data).subspan(order.other * kSector, kSector)).version
                   : found[order.other].oldest;
    if (there >= order.other_version || failure_.size() > 2000) continue;
    failure_ += fmt::format(
        "after a cut block {} has version {}, which follows version {} of {} {}; "
        "that has {}\n",
        order.block, found[order.block].newest, order.other_version, order.data ? "data" : "block",
        order.other, there);
  }
}

void MetadataWorld::stamp(std::span<std::byte> block, uint64_t number, uint64_t version) const {
  for (uint64_t place = 0; place < block.size(); place += kSector) {
    const SectorStamp stamp{.number = number, .version = version};
    std::memset(block.data() + place, static_cast<int>(version % 251), kSector);
    std::memcpy(block.data() + place, &stamp, sizeof(stamp));
  }
}

// Returns the version of the block; complains if its sectors differ.
uint64_t MetadataWorld::version_in(std::span<const std::byte> block, uint64_t number) {
  const SectorStamp first = stamp_of(block);
  for (uint64_t place = 0; place < block.size(); place += kSector) {
    const SectorStamp stamp = stamp_of(block.subspan(place, kSector));
    if (judges_contents() && (stamp.number != number || stamp.version != first.version)) {
      complain(fmt::format("block {} is torn in the cache", number));
    }
  }
  return first.version;
}

}  // namespace sluice::test
