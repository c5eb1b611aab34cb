// warm_up(): leaves a ring as it was, whatever this kernel or its limits allow.
#include "ring/warm_up.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "ring/kernel_ring.hpp"

namespace sluice::test {
namespace {

// Threads of this process whose names begin with `iou-wrk-TID`, TID being this thread.
size_t workers() {
  size_t found = 0;
  const std::string expected = "iou-wrk-" + std::to_string(gettid());
  for (int tid = gettid() - 1; tid < gettid() + 4096; ++tid) {
    std::ifstream file("/proc/self/task/" + std::to_string(tid) + "/comm");
    std::string name;
    found += std::getline(file, name) && name == expected ? 1 : 0;
  }
  return found;
}

TEST(WarmUp, LeavesTheRingAsItWas) {
  auto ring = KernelRing::create({.entries = 64,
                                  .cq_entries = 1024,
                                  .slots = 100,
                                  .warm_up = {.operations = 256, .slots = 100, .workers = 1}});
  ASSERT_TRUE(ring) << ring.error().text;
  EXPECT_EQ((*ring)->in_flight(), 1U) << "its doorbell";
  EXPECT_EQ((*ring)->free_slots(), 100U);
  std::vector<std::byte> memory(4096);
  EXPECT_TRUE((*ring)->register_memory(99, memory));
}

TEST(WarmUp, MakesOneWorkerOfEachKindWhichIsAll) {
  auto ring = KernelRing::create({.entries = 64, .warm_up = {.operations = 1, .workers = 1}});
  ASSERT_TRUE(ring) << ring.error().text;
  const size_t made = workers();
  if (made == 0) GTEST_SKIP() << "this kernel gives its workers other names";
  EXPECT_LE(made, 2U);
}

TEST(WarmUp, WideCommandsAreNotInItsWay) {
  auto ring = KernelRing::create(
      {.entries = 64, .warm_up = {.operations = 200, .workers = 1}, .wide_sqes = true});
  ASSERT_TRUE(ring) << ring.error().text;
  EXPECT_EQ((*ring)->in_flight(), 1U);
}

}  // namespace
}  // namespace sluice::test
