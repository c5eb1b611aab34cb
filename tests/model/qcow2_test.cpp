// The qcow2 target on random images of QEMU, under random requests and power cuts (qcow2_run.hpp).
// SLUICE_TEST_SEED and SLUICE_TEST_ROUNDS work as in metadata_remap_test.cpp. SLUICE_TEST_FULL=1:
// three times as many rounds, and QEMU examines what each cut has left.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/log.hpp"
#include "model/qcow2_run.hpp"
#include "model/seeds.hpp"

namespace sluice::test {
namespace {

Seeds qcow2_seeds(uint64_t usual) { return choose_seeds(usual * (runs_all_cases() ? 3 : 1)); }

// Verbs that fail or succeed say so.
struct Quiet {
  Quiet() { log().set_level(spdlog::level::critical); }
  ~Quiet() { log().set_level(spdlog::level::info); }
};

struct Kind {
  uint64_t fails_each = 0;  // see Qcow2Run::Setup
  bool commits = false;     // the images can be committed
};

void run_images(const Seeds& seeds, Kind kind) {
  if (std::system("command -v qemu-img qemu-io >/dev/null") != 0) {
    GTEST_SKIP() << "needs qemu-img (package qemu-utils)";
  }
  const Quiet quiet;
  Qcow2Counts total;
  for (uint64_t seed = seeds.first;
       seed < seeds.first + seeds.count && !testing::Test::HasFailure(); ++seed) {
    std::mt19937_64 random(seed);
    const WorkFolder folder;
    std::optional<BlockOracle> oracle;
    const Qcow2Image image = make_random_image(folder, random, oracle, kind.commits);
    SCOPED_TRACE(fmt::format("SLUICE_TEST_SEED={} {} size={} backing={} snapshots={}", seed,
                             image.options, image.size_bytes, image.backing,
                             image.snapshots.size()));
    if (testing::Test::HasFailure()) return;
    Qcow2Counts counts;
    Qcow2Run run(
        {.folder = folder,
         .image = image,
         .counts = counts,
         .fails_each = kind.fails_each,
         .cuts = 60,
         .events = kind.commits ? 9000 : 2400,
         .commits = kind.commits,
         .qemu_each = runs_all_cases() ? 1UL : 12UL},
        random(),
        {.image = folder.read("image.qcow2"),
         .data = folder.read("data.raw"),
         .backing = image.backing.empty() ? std::vector<std::byte>() : folder.read(image.backing)},
        std::move(*oracle));
    run.run(kind.commits ? 5000 : 1500);
    total.cuts += counts.cuts;
    total.judged += counts.judged;
    total.requests += counts.requests;
    total.failed += counts.failed;
    total.verbs += counts.verbs;
    total.commits += counts.commits;
    total.pivots += counts.pivots;
    total.commit_cuts += counts.commit_cuts;
  }
  fmt::print(
      "[   cuts   ] {}, {} of them examined by QEMU; {} requests, {} of them failed, {} changes"
      " of snapshots; {} commits, {} cuts meanwhile, {} pivots\n",
      total.cuts, total.judged, total.requests, total.failed, total.verbs, total.commits,
      total.commit_cuts, total.pivots);
}

TEST(Qcow2Model, PowerCuts) { run_images(qcow2_seeds(3), {}); }

TEST(Qcow2Model, PowerCutsOfAFailingDisk) { run_images(qcow2_seeds(2), {.fails_each = 150}); }

TEST(Qcow2Model, PowerCutsOfACommit) { run_images(qcow2_seeds(1), {.commits = true}); }

TEST(Qcow2Model, PowerCutsOfACommitToAFailingDisk) {
  run_images(qcow2_seeds(1), {.fails_each = 1000, .commits = true});
}

}  // namespace
}  // namespace sluice::test
