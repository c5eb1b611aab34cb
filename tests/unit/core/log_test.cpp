#include "core/log.hpp"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <sstream>

namespace sluice {
namespace {

class LogTest : public testing::Test {
 protected:
  LogTest() : before_(set_log(nullptr)) {}
  ~LogTest() override { set_log(before_); }

  std::shared_ptr<spdlog::logger> make_logger() {
    return std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_));
  }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
  const std::shared_ptr<spdlog::logger> before_;
};

TEST_F(LogTest, IsSilentUntilItIsGivenALogger) {
  EXPECT_FALSE(log().should_log(spdlog::level::critical));
  log().critical("nobody hears that");
  set_log(make_logger());
  log().info("heard");
  EXPECT_NE(text().find("heard"), std::string::npos);
  EXPECT_EQ(text().find("nobody"), std::string::npos);
}

TEST_F(LogTest, IsSilentAgainWithoutOne) {
  const auto logger = make_logger();
  EXPECT_EQ(set_log(logger), nullptr);
  EXPECT_EQ(&log(), logger.get());
  EXPECT_EQ(set_log(nullptr), logger);
  log().critical("nobody hears that");
  EXPECT_EQ(text(), "");
}

}  // namespace
}  // namespace sluice
