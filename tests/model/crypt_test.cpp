// CryptTarget over a disk with a volatile cache, under random requests, checked against the oracle.
// Requests of the disk fail and end in any order; the power is cut at random steps, and the disk of
// that moment is deciphered again by a target of its own: its sectors must have the flushed
// contents or newer ones. SLUICE_TEST_SEED and SLUICE_TEST_ROUNDS work as in
// metadata_cache_test.cpp.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <thread>

#include "model/block_oracle.hpp"
#include "model/in_flight.hpp"
#include "model/seeds.hpp"
#include "ring/kernel_ring.hpp"
#include "support/manual_ring.hpp"
#include "support/member_target.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"
#include "target/crypt/crypt_target.hpp"

namespace sluice::test {
namespace {

using crypt::Cipher;
using crypt::CryptTarget;
using crypt::Layout;
using crypt::Secret;
using Left = VolatileDisk::Left;

constexpr uint64_t kLongest = 320 << 10;  // several pieces

struct OpenVolume {
  OpenVolume(ManualRing& on, std::unique_ptr<VolatileDisk> child, const Layout& layout,
             std::span<const std::byte> key)
      : ring(on), disk(child.get()) {
    Geometry geometry = child->geometry();
    geometry.size_bytes = geometry.size_bytes - layout.data_offset;
    geometry.logical_block_bytes = layout.sector_bytes;
    geometry.can_write_zeroes = false;
    geometry.needs_bytes = true;
    Target::Children children;
    children.push_back(std::move(child));
    target = std::make_unique<CryptTarget>(std::move(children), layout,
                                           std::move(*Secret::copy_of(key)), geometry);
    LifeRequest life(ring);
    LifeCall call;
    Task attaching = target->attach(life.request, call);
    EXPECT_TRUE(attaching.finished() && attaching.status().ok()) << call.why;
  }
  ~OpenVolume() {
    LifeRequest life(ring);
    LifeCall call;
    Task detaching = target->detach(life.request, call);
    EXPECT_TRUE(detaching.finished());
  }

  ManualRing& ring;
  VolatileDisk* const disk;
  std::unique_ptr<CryptTarget> target;
};

class CryptRun {
 public:
  explicit CryptRun(uint64_t seed)
      : random_(seed),
        power_(random_()),
        layout_(make_layout()),
        key_(layout_.key_bytes),
        oracle_(number(24, 400) * 4096) {
    for (std::byte& each : key_) each = static_cast<std::byte>(random_());
    volume_.emplace(ring_, make_disk(), layout_, key_);
  }

  void run(int steps) {
    write_zeroes();
    power_.on_event = [&] {
      // A sector that is torn in itself cannot be deciphered, which no disk promises to prevent.
      const Left left = has_small_sectors() ? Left::any : chance(50) ? Left::durable : Left::newest;
      if (cuts_.size() < kCuts && chance(1)) {
        cuts_.push_back({oracle_, volume_->disk->after_cut(left, random_)});
      }
    };
    fails_ = chance(50);
    // After a failed flush nothing is known, and Disk refuses writes. A write that fails may tear.
    volume_->disk->fails = [&](const Request& request) {
      const bool may_fail =
          request.op == Op::read || (request.op == Op::write && has_small_sectors());
      return fails_ && may_fail && number(0, 199) == 0 ? EIO : 0;
    };
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      if (running_.size() < 8) start();
      ring_.settle();
      if (ring_.pending() != 0) ring_.perform(random_() % ring_.pending());
      collect();
    }
    while (ring_.pending() != 0) ring_.perform(random_() % ring_.pending());
    collect();
    EXPECT_TRUE(running_.empty()) << "a request waits for ever";
    power_.on_event = nullptr;
    fails_ = false;
    EXPECT_EQ(oracle_.check(0, content(*volume_)), "");
    for (Cut& cut : cuts_) check(cut);
  }
  size_t cuts() const { return cuts_.size(); }

 private:
  static constexpr size_t kCuts = 12;

  struct Cut {
    BlockOracle oracle;
    std::vector<std::byte> disk;
  };
  struct Running {
    explicit Running(Ring& ring) : tag(ring) {}
    TestTag tag;
    std::vector<std::byte> memory;
    Op op = Op::read;
    bool fua = false;
    uint64_t offset = 0;
    uint64_t length = 0;
    uint64_t begun_at = 0;
    std::optional<Task> task;
  };

  uint64_t number(uint64_t least, uint64_t most) { return least + random_() % (most - least + 1); }
  bool chance(uint64_t percent) { return random_() % 100 < percent; }

  bool has_small_sectors() const { return layout_.sector_bytes == VolatileDisk::kSector; }

  Layout make_layout() {
    struct Known {
      Cipher cipher;
      uint32_t key_bytes;
    };
    constexpr Known kKnown[] = {{Cipher::aes_xts_plain64, 32},
                                {Cipher::aes_xts_plain64, 64},
                                {Cipher::aes_xts_plain, 64},
                                {Cipher::aes_cbc_essiv_sha256, 32}};
    const Known& known = kKnown[random_() % std::size(kKnown)];
    // The numbers of some go beyond 32 bits.
    return {.cipher = known.cipher,
            .key_bytes = known.key_bytes,
            .sector_bytes = 512U << number(0, 3),
            .data_offset = number(0, 64) * 4096,
            .first_number = chance(50) ? number(0, 1000) : (uint64_t{1} << 32) - number(0, 500)};
  }

  std::unique_ptr<VolatileDisk> make_disk() {
    return std::make_unique<VolatileDisk>(power_, layout_.data_offset + oracle_.size_bytes(),
                                          chance(50));
  }

  // What is on a new disk is no zeroes, as they would be enciphered.
  void write_zeroes() {
    TestTag tag(ring_);
    for (const Op op : {Op::write_zeroes, Op::flush}) {
      const uint64_t length = op == Op::flush ? 0 : oracle_.size_bytes();
      Task task = volume_->target->submit(tag.make(op, 0, length));
      ring_.perform_all();
      ASSERT_TRUE(task.finished() && task.status().ok());
    }
  }

  void start() {
    auto running = std::make_unique<Running>(ring_);
    const uint64_t dice = number(0, 99);
    running->op = dice < 35   ? Op::read
                  : dice < 80 ? Op::write
                  : dice < 90 ? Op::write_zeroes
                              : Op::flush;
    if (running->op != Op::flush && !choose_range(*running)) return;
    running->fua = running->op == Op::write && chance(15);
    running->begun_at = oracle_.time();
    if (running->op == Op::read || running->op == Op::write) {
      running->memory.resize(running->length);
    }
    if (running->op == Op::write) {
      const uint64_t written = oracle_.new_number();
      BlockOracle::fill(written, running->offset, running->memory);
      oracle_.begin(written, running->offset, running->length);
    }
    if (running->op == Op::write_zeroes) oracle_.begin(0, running->offset, running->length);
    Request& request =
        running->memory.empty()
            ? running->tag.make(running->op, running->offset, running->length)
            : running->tag.make(running->op, running->offset, std::span(running->memory));
    request.fua = running->fua;
    running->task.emplace(volume_->target->submit(request));
    running_.push_back(std::move(running));
  }

  // One that no other request has.
  bool choose_range(Running& running) {
    const uint64_t sector = layout_.sector_bytes;
    const uint64_t sectors = oracle_.size_bytes() / sector;
    const uint64_t most = std::min(chance(80) ? 16 : kLongest / sector, sectors);
    const uint64_t count = number(1, most);
    running.offset = number(0, sectors - count) * sector;
    running.length = count * sector;
    return lies_apart(running_, running);
  }

  void collect() {
    collect_ended(running_, [this](Running& ended) { end(ended); });
  }

  void end(Running& ended) {
    const Status status = ended.task->status();
    ended.task.reset();
    EXPECT_TRUE(status.ok() || (fails_ && status.error() == EIO)) << status.error();
    if (!status.ok()) return;
    if (ended.op == Op::read) EXPECT_EQ(oracle_.check(ended.offset, ended.memory), "");
    if (ended.op == Op::write || ended.op == Op::write_zeroes) {
      oracle_.end(ended.offset, ended.length, ended.fua);
    }
    if (ended.op == Op::flush) oracle_.flushed(ended.begun_at);
  }

  std::vector<std::byte> content(OpenVolume& volume) {
    std::vector<std::byte> bytes(oracle_.size_bytes());
    TestTag tag(ring_);
    Task task = volume.target->submit(tag.make(Op::read, 0, std::span(bytes)));
    ring_.perform_all();
    EXPECT_TRUE(task.finished() && task.status().ok());
    return bytes;
  }

  void check(Cut& cut) {
    if (testing::Test::HasFailure()) return;
    auto disk = make_disk();
    disk->load(cut.disk);
    OpenVolume again(ring_, std::move(disk), layout_, key_);
    EXPECT_EQ(cut.oracle.adopt(0, content(again)), "");
  }

  std::mt19937_64 random_;
  Power power_;
  const Layout layout_;
  std::vector<std::byte> key_;
  BlockOracle oracle_;
  ManualRing ring_;
  std::optional<OpenVolume> volume_;
  bool fails_ = false;
  std::vector<std::unique_ptr<Running>> running_;
  std::vector<Cut> cuts_;
};

// Several rings share one key, each on a thread of its own.
TEST(CryptModel, ThreadsShareAKey) {
  constexpr uint64_t kThreads = 3;
  constexpr uint64_t kPart = 1 << 20;
  Power power(1);
  const Layout layout{.cipher = Cipher::aes_xts_plain64, .key_bytes = 64};
  auto disk = std::make_unique<VolatileDisk>(power, kThreads * kPart, /*fua=*/true);
  ManualRing opener;
  const std::vector<std::byte> key = [] {
    std::vector<std::byte> bytes(64);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
    return bytes;
  }();
  OpenVolume volume(opener, std::move(disk), layout, key);
  const auto use = [&](uint64_t index) {
    auto ring = KernelRing::create({});
    ASSERT_TRUE(ring) << ring.error().text;
    LifeRequest life(**ring);
    LifeCall call;
    Task attaching = volume.target->attach(life.request, call);
    ASSERT_TRUE(attaching.finished() && attaching.status().ok()) << call.why;
    std::mt19937_64 random(index);
    std::vector<std::byte> written(kPart);
    for (std::byte& each : written) each = static_cast<std::byte>(random());
    std::vector<std::byte> read(kPart);
    TestTag tag(**ring);
    for (const Op op : {Op::write, Op::read, Op::write, Op::flush, Op::read}) {
      Request& request =
          op == Op::flush ? tag.make(op, 0, uint64_t{0})
                          : tag.make(op, index * kPart, std::span(op == Op::read ? read : written));
      Task task = volume.target->submit(request);
      while (!task.finished()) (*ring)->run_once(true);
      EXPECT_EQ(task.status().error(), 0);
    }
    EXPECT_EQ(read, written);
    Task detaching = volume.target->detach(life.request, call);
    EXPECT_TRUE(detaching.finished());
  };
  std::vector<std::jthread> threads;
  for (uint64_t i = 0; i < kThreads; ++i) threads.emplace_back(use, i);
}

TEST(CryptModel, PowerCutsAndFaults) {
  const Seeds seeds = choose_seeds(30);
  size_t cuts = 0;
  for (uint64_t seed = seeds.first; seed < seeds.end() && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("SLUICE_TEST_SEED={}", seed));
    CryptRun run(seed);
    run.run(1500);
    cuts += run.cuts();
  }
  fmt::print("[   cuts   ] {}\n", cuts);
}

}  // namespace
}  // namespace sluice::test
