// A thread is bound to existing processors, or the error names one that does not exist.
#include "daemon/bind_thread.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

namespace sluice {
namespace {

TEST(BindThread, ToWhatThereIs) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  int first = 0;
  while (!CPU_ISSET(static_cast<size_t>(first), &before)) ++first;
  EXPECT_TRUE(bind_thread(gettid(), {first}).has_value());
  cpu_set_t after;
  ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
  EXPECT_EQ(CPU_COUNT(&after), 1);
  EXPECT_TRUE(CPU_ISSET(static_cast<size_t>(first), &after));
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
}

TEST(BindThread, WhatIsNotThereIsNamed) {
  for (const std::vector<int>& processors : {std::vector<int>{1023}, std::vector<int>{0, 1023}}) {
    const auto bound = bind_thread(gettid(), processors);
    ASSERT_FALSE(bound.has_value());
    EXPECT_EQ(bound.error().error, EINVAL);
    EXPECT_THAT(bound.error().text,
                testing::StartsWith("this machine has no processor 1023: it has 0"));
  }
}

}  // namespace
}  // namespace sluice
