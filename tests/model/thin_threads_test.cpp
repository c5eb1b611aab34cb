// A volume of a thin pool, used by several threads with rings of their own, in the same blocks,
// while others take and delete snapshots, let the volume grow, commit and discard. The pool grows
// by itself.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/log.hpp"
#include "model/stripe_user.hpp"
#include "model/volatile_blocks.hpp"
#include "persistent/check.hpp"
#include "support/volatile_disk.hpp"
#include "target/control_call.hpp"
#include "target/thin/thin_target.hpp"

namespace sluice::test {
namespace {

using thin::Pool;
using thin::PoolOptions;
using thin::ThinTarget;

constexpr uint64_t kThinUnit = 64 << 10;
constexpr uint64_t kThreadsVolumeBytes = 4 << 20;
constexpr uint64_t kThreadsDataBlocks = 16;
constexpr int kThreadsRounds = 300;

struct ThreadsPool {
  Power power{1};
  VolatileDisk* metadata = nullptr;
  VolatileDisk* data = nullptr;
  std::shared_ptr<Pool> pool;
  std::unique_ptr<ThinTarget> volume;

  explicit ThreadsPool(const PoolOptions& options) {
    VolatileBlocks blocks(VolatileBlocks::Bytes(1024 * persistent::kBlockBytes));
    auto made = persistent::Transaction::create(
        blocks, {.metadata_blocks = blocks.blocks(), .data_blocks = kThreadsDataBlocks});
    if (!made || !(*made)->create_device(1) || !(*made)->commit(blocks)) {
      throw std::runtime_error("no pool");
    }
    auto first = std::make_unique<VolatileDisk>(power, blocks.newest().size(), true);
    auto second = std::make_unique<VolatileDisk>(power, kThreadsDataBlocks * kThinUnit, true);
    first->load(blocks.newest());
    second->offer_discard();
    metadata = first.get();
    data = second.get();
    Target::Children devices;
    devices.push_back(std::move(first));
    devices.push_back(std::move(second));
    pool = std::make_shared<Pool>(options, *metadata, *data);
    volume = std::make_unique<ThinTarget>(
        std::move(devices), pool, ThinTarget::Shape{.id = 1, .size_bytes = kThreadsVolumeBytes});
  }
};

int perform_verb(ThinTarget& volume, const std::string& name, uint64_t id) {
  ControlCall call;
  call.verb.target = name;
  if (name == "snapshot") {
    call.verb.set("id", id);
  } else {
    call.verb.set("id", std::to_string(id));
  }
  return perform_alone([&](Request& request) { return volume.control(request, call); });
}

TEST(ThinVolumeModel, SeveralThreads) {
  log().set_level(spdlog::level::critical);
  for (const uint64_t mapping_bytes : {0U, 1U << 20}) {
    SCOPED_TRACE(mapping_bytes);
    ThreadsPool served({.cache_bytes = 0,
                        .mapping_bytes = mapping_bytes,
                        .no_space_timeout = std::chrono::seconds(30),
                        .autogrow_bytes = 8 * kThinUnit});
    LifeCall call;
    ThinTarget& volume = *served.volume;
    ASSERT_EQ(perform_alone([&](Request& request) { return volume.start(request, call); }), 0);
    std::vector<std::unique_ptr<StripeUser>> users;
    std::vector<std::thread> threads;
    std::atomic<bool> has_ended = false;
    for (uint64_t i = 0; i < StripeUser::kThreads; ++i) {
      users.push_back(std::make_unique<StripeUser>(volume, kThreadsVolumeBytes, i));
      threads.emplace_back([&user = *users.back()] { user.run(kThreadsRounds); });
    }
    uint64_t snapshots = 0;
    std::thread verbs([&] {
      for (uint64_t id = 10; !has_ended; ++id, ++snapshots) {
        EXPECT_EQ(perform_verb(volume, "snapshot", id), 0);
        EXPECT_EQ(perform_verb(volume, "create", (1 << 24) - id), 0);
        EXPECT_EQ(perform_verb(volume, "list", 0), 0);
        EXPECT_EQ(perform_verb(volume, "delete", (1 << 24) - id), 0);
        if (id >= 12) EXPECT_EQ(perform_verb(volume, "delete", id - 2), 0);
      }
    });
    std::thread housekeeping([&] {
      while (!has_ended) {
        EXPECT_EQ(perform_alone([&](Request& request) { return served.pool->tidy(request); }), 0);
        EXPECT_TRUE(volume.resize(volume.geometry().size_bytes + 4096));
        std::ignore = volume.health();
        std::ignore = volume.status_contexts()->contexts();
      }
    });
    for (std::thread& thread : threads) thread.join();
    has_ended = true;
    verbs.join();
    housekeeping.join();
    StripeUser::Bytes found(kThreadsVolumeBytes);
    auto ring = KernelRing::create({});
    ASSERT_TRUE(ring);
    TestTag tag(**ring);
    {
      Task reading = volume.submit(tag.make(Op::read, 0, std::span(found)));
      while (!reading.finished()) (*ring)->run_once(true);
      EXPECT_EQ(reading.status().error(), 0);
    }
    for (const auto& user : users) EXPECT_EQ(user->check(found), "");
    EXPECT_GT(snapshots, 2);
    ASSERT_EQ(perform_alone([&](Request& request) { return volume.stop(request, call); }), 0);
    std::mt19937_64 random;
    VolatileBlocks left(served.metadata->after_cut(VolatileDisk::Left::newest, random));
    const auto result = persistent::check(left, {});
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_TRUE(result->clean()) << result->sentences.front();
    fmt::print("[  counts  ] {} snapshots, {} data blocks\n", snapshots,
               served.data->geometry().size_bytes / kThinUnit);
  }
  log().set_level(spdlog::level::info);
}

}  // namespace
}  // namespace sluice::test
