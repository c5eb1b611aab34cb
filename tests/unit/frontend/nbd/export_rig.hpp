// NbdExportTest: an export on a unix socket, with a session around it, and its clients.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "frontend/nbd/export.hpp"
#include "frontend/session.hpp"
#include "support/nbd_client.hpp"
#include "unit/target/loop_rig.hpp"

namespace sluice::nbd::test {

using sluice::test::NbdClient;
using sluice::test::TempDir;

inline constexpr uint64_t kSize = 4 << 20;

inline std::vector<std::byte> bytes_of(size_t length, int seed) {
  std::vector<std::byte> bytes(length);
  std::minstd_rand random(static_cast<unsigned>(seed));
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random() & 0xff); });
  return bytes;
}

// The export raises the soft limit.
inline bool may_open(rlim_t descriptors) {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max >= descriptors;
}

struct NbdExportTest : testing::Test {
  void serve(std::string_view spec, bool read_only = false, uint16_t queues = 1) {
    stack = std::move(*sluice::test::open_stack(spec, read_only, /*to_the_byte=*/true));
    ASSERT_TRUE(stack->start());
    auto made = NbdExport::make(*stack, {.addresses = {*ListenAddress::parse("unix:" + path)},
                                         .name = "disk",
                                         .queues = queues,
                                         .depth = 8});
    ASSERT_TRUE(made) << made.error().text;
    auto started = Session<NbdExport>::start(std::move(*made));
    ASSERT_TRUE(started) << started.error().text;
    session = std::move(*started);
  }
  void TearDown() override {
    if (session) EXPECT_TRUE(session->end());
  }

  NbdClient client(Headers headers = Headers::extended) {
    NbdClient made(path);
    EXPECT_EQ(made.shake_hands({.export_name = "disk", .headers = headers}), "");
    return made;
  }

  TempDir directory;
  const std::string path = directory.path("disk.sock");
  std::unique_ptr<Stack> stack;
  std::unique_ptr<Session<NbdExport>> session;
};

}  // namespace sluice::nbd::test
