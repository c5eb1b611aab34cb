// PoolFiles: a thin pool in files, and a device in this process on one of its volumes.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/buffer.hpp"
#include "core/extents.hpp"
#include "frontend/direct/device.hpp"
#include "model/volatile_blocks.hpp"
#include "persistent/check.hpp"
#include "persistent/transaction.hpp"
#include "spec/spec.hpp"
#include "support/work_folder.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"
#include "target/verb.hpp"

namespace sluice::thin::test {

using sluice::test::VolatileBlocks;
using sluice::test::WorkFolder;

inline constexpr uint64_t kPoolBlock = 64 << 10;

struct PoolShape {
  uint64_t metadata_blocks = 256;
  uint64_t data_blocks = 64;
};

class PoolFiles : public testing::Test {
 protected:
  // With the volumes 1 and 2.
  void make_pool(const PoolShape& shape = {}) {
    VolatileBlocks metadata(VolatileBlocks::Bytes(shape.metadata_blocks * persistent::kBlockBytes));
    auto made = persistent::Transaction::create(
        metadata, {.metadata_blocks = shape.metadata_blocks, .data_blocks = shape.data_blocks});
    ASSERT_TRUE(made) << made.error().text;
    for (const uint64_t id : {1U, 2U}) ASSERT_TRUE((*made)->create_device(id));
    ASSERT_TRUE((*made)->commit(metadata));
    folder.write("meta", metadata.newest());
    // What is never seen.
    folder.write("data", std::vector<std::byte>(shape.data_blocks * kPoolBlock, std::byte{0xAB}));
  }

  std::string thin(const std::string& options, const std::string& more = {}) const {
    return fmt::format("thin({0}/meta, {0}/data{1}, size=16M, {2})", folder.path(), more, options);
  }
  // The text of the error; empty: it is served.
  std::string try_open(const std::string& text, bool read_only = false) {
    auto spec = parse_spec(text, target_vocabulary());
    if (!spec) return spec.error().text;
    auto opened = Stack::open(*spec, read_only);
    if (!opened) return opened.error().text;
    stack = std::move(*opened);
    if (auto started = stack->start(); !started) return started.error().text;
    auto created = direct::Device::create(*stack, {.queues = 2});
    if (!created) return created.error().text;
    device = std::move(*created);
    return {};
  }
  void open(const std::string& options) { ASSERT_EQ(try_open(thin(options)), ""); }
  void close() {
    device.reset();
    if (stack != nullptr) stack->stop();
    stack.reset();
  }
  void TearDown() override { close(); }

  void fill(uint64_t offset, uint64_t length, int value, int error = 0) const {
    const Buffer memory(length);
    std::memset(memory.bytes().data(), value, length);
    EXPECT_EQ(device->write(offset, memory.bytes()).error(), error) << "at " << offset;
  }
  // Whether all of it has this value.
  bool has(uint64_t offset, uint64_t length, int value) const {
    const Buffer memory(length);
    EXPECT_TRUE(device->read(offset, memory.bytes()).ok());
    return std::ranges::all_of(memory.bytes(),
                               [&](std::byte each) { return each == std::byte(value); });
  }
  uint64_t number(const std::string& name) const {
    for (const auto& target : stack->health().targets) {
      for (const HealthNumber& each : target.health.numbers) {
        if (each.name == name) return each.value;
      }
    }
    ADD_FAILURE() << "no number " << name;
    return 0;
  }
  std::string control(const std::string& name, const std::vector<std::string>& arguments = {}) {
    const auto verb = read_verb("thin", name, arguments, folder.path());
    if (!verb) return verb.error().text;
    auto answer = stack->control("/", *verb);
    return answer ? std::string() : answer.error().text;
  }
  // Once closed, or of what was committed.
  void expect_sound() const {
    VolatileBlocks metadata(folder.read("meta"));
    const auto result = persistent::check(metadata, {});
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_TRUE(result->clean()) << result->sentences.front();
  }

  WorkFolder folder;
  std::unique_ptr<Stack> stack;
  std::unique_ptr<direct::Device> device;
};

}  // namespace sluice::thin::test
