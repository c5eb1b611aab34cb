// on_rings(): tasks on several threads, each thread with a ring of the kernel, run to their end.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "ring/kernel_ring.hpp"
#include "support/test_tag.hpp"

namespace sluice::test {

// `start(request, thread)` gives a task, `tasks` of them on each of `threads` threads. A ring ends
// as soon as its own tasks have ended, whatever the others do.
template <typename Start>
void on_rings(int threads, int tasks, Start start) {
  const auto run = [&](int thread) {
    auto ring = KernelRing::create({});
    ASSERT_TRUE(ring) << ring.error().text;
    std::vector<std::unique_ptr<TestTag>> tags;
    std::vector<std::unique_ptr<Task>> running;
    for (int i = 0; i < tasks; ++i) {
      tags.push_back(std::make_unique<TestTag>(**ring));
      Request& request = tags.back()->make(Op::flush, 0, uint64_t{0});
      running.push_back(std::make_unique<Task>(start(request, thread)));
    }
    for (const auto& task : running) {
      while (!task->finished()) (*ring)->run_once(true);
      EXPECT_TRUE(task->status().ok());
    }
    running.clear();
  };
  std::vector<std::thread> all;
  all.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) all.emplace_back(run, i);
  for (std::thread& thread : all) thread.join();
}

}  // namespace sluice::test
