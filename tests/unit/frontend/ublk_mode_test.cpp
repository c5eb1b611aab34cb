// The choice of a ublk device's buffer mode, and of the next one if the kernel refuses it.
#include "frontend/ublk/mode.hpp"

#include <gtest/gtest.h>

namespace sluice::ublk {
namespace {

constexpr uint64_t kAll = ~uint64_t{0};

TEST(UblkMode, WhatWasRefusedGivesWayToTheNextBest) {
  ModeRefusals refusals;
  const auto next = [&] { return choose_mode({}, kAll, {}, refusals); };
  EXPECT_EQ(next()->mode, BufferMode::auto_register);
  EXPECT_EQ(next()->reason, "");
  for (const BufferMode mode :
       {BufferMode::register_buf, BufferMode::user_copy, BufferMode::get_data, BufferMode::copy}) {
    const auto before = next();
    refusals[before->mode] = "the kernel said " + std::string(to_string(before->mode));
    const auto choice = next();
    ASSERT_TRUE(choice);
    EXPECT_EQ(choice->mode, mode);
    EXPECT_EQ(choice->reason, "not 'auto': the kernel said auto");
  }
}

TEST(UblkMode, ADemandForZeroCopyIsNotMetByAnother) {
  const ModeRefusals refusals = {{BufferMode::auto_register, "a"}, {BufferMode::register_buf, "b"}};
  const auto choice = choose_mode({.named = {}, .zero_copy_required = true}, kAll, {}, refusals);
  ASSERT_FALSE(choice);
  EXPECT_EQ(choice.error().text, "zero copy was required but is not possible (not 'auto': a)");
}

TEST(UblkMode, ANamedModeIsNotReplaced) {
  const auto choice = choose_mode({.named = BufferMode::register_buf}, kAll, {});
  EXPECT_EQ(choice->mode, BufferMode::register_buf);
}

}  // namespace
}  // namespace sluice::ublk
