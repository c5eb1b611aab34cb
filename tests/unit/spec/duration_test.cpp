#include "spec/duration.hpp"

#include <gtest/gtest.h>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

TEST(ParseDuration, HasUnits) {
  EXPECT_EQ(parse_duration("10ms"), 10ms);
  EXPECT_EQ(parse_duration("0.5us"), 500ns);
  EXPECT_EQ(parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(parse_duration("7ns"), 7ns);
  EXPECT_EQ(parse_duration("2m"), 2min);
  EXPECT_EQ(parse_duration("3h"), 3h);
  EXPECT_EQ(parse_duration("0"), 0ns);
  EXPECT_EQ(parse_duration("99999999999s"), 24h * 365 * 100);
}

TEST(ParseDuration, RefusesAnythingElse) {
  for (const char* const text :
       {"", "10", "s", "-1s", "-0", "1 s", "1e3s", "1d", "0x", "nan", "1sec"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

}  // namespace
}  // namespace sluice::test
