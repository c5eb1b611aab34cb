// Served, ChainOfImages: a device in this process on a chain of images in files, with QEMU as the
// judge.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/buffer.hpp"
#include "frontend/direct/device.hpp"
#include "support/work_folder.hpp"
#include "target/stack.hpp"
#include "unit/target/qcow2/image_bytes.hpp"

namespace sluice::qcow2::test {

using sluice::test::WorkFolder;

inline constexpr uint64_t kChainDisk = 16 << 20;
inline constexpr uint64_t kChainUnit = 4096;

// A device in this process on an image, and what its disk should have.
class Served {
 public:
  explicit Served(const Spec& spec, std::vector<std::byte>& oracle) : oracle_(oracle) {
    auto opened = Stack::open(spec, false);
    if (!opened) throw std::runtime_error(opened.error().text);
    stack = std::move(*opened);
    begin();
  }
  ~Served() { close(); }

  void begin() {
    if (auto started = stack->start(); !started) throw std::runtime_error(started.error().text);
    auto created = direct::Device::create(*stack, {.queues = 2, .offload_threads = 1});
    if (!created) throw std::runtime_error(created.error().text);
    device = std::move(*created);
  }
  void end() {
    device.reset();
    if (stack != nullptr) stack->stop();
  }
  void close() {
    end();
    stack.reset();
  }

  // One random request.
  void ask(std::mt19937_64& random) {
    const uint64_t units = 1 + random() % 32;
    const uint64_t offset = random() % (kChainDisk / kChainUnit - units) * kChainUnit;
    const uint64_t length = units * kChainUnit;
    const auto known = std::span(oracle_).subspan(offset, length);
    const Buffer memory(length);
    switch (random() % 4) {
      case 0:
        ASSERT_TRUE(device->read(offset, memory.bytes()).ok());
        ASSERT_TRUE(std::ranges::equal(memory.bytes(), known)) << "at " << offset;
        break;
      case 1:
        ASSERT_TRUE(device->write_zeroes(offset, length).ok());
        std::ranges::fill(known, std::byte{0});
        break;
      default:
        std::ranges::fill(memory.bytes(), static_cast<std::byte>(random()));
        ASSERT_TRUE(device->write(offset, memory.bytes()).ok());
        std::ranges::copy(memory.bytes(), known.begin());
    }
  }

  std::string control(const Spec& verb) {
    const auto record = [&](const Spec& spec) -> Result<void> {
      if (record_fails) return fail(EIO, "the record cannot be written");
      recorded = spec;
      return {};
    };
    const auto done = stack->control("/", verb, {.files = {}, .record = record});
    return done ? "" : done.error().text;
  }

  bool job_runs() const {
    const auto jobs = stack->life().jobs().reports();
    return std::ranges::any_of(jobs, &Jobs::Report::running);
  }

  std::unique_ptr<Stack> stack;
  std::unique_ptr<direct::Device> device;
  bool record_fails = false;
  Spec recorded;

 private:
  std::vector<std::byte>& oracle_;
};

class ChainOfImages : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_qemu_img()) GTEST_SKIP() << kNeedsQemuImg;
    std::mt19937_64 random(7);
    for (uint64_t i = 0; i < kChainDisk / 2; ++i) oracle_[i] = static_cast<std::byte>(random());
    folder_.write("base", oracle_);
    run("qemu-img create -q -f qcow2 -b base -F raw image.qcow2 16M && pwd");
    path_ = folder_.output();
    path_.pop_back();
  }

  void run(const std::string& command) {
    ASSERT_EQ(folder_.run(command), 0) << command << ": " << folder_.output();
  }
  Spec image(const std::string& name) {
    Spec spec{.target = "qcow2"};
    spec.set("file", path_ + "/" + name);
    return spec;
  }
  // The verb; the overlay is made by QEMU.
  Spec snapshot_to(const std::string& name, const std::string& of) {
    run(fmt::format("qemu-img create -q -f qcow2 -b {} -F qcow2 {}", of, name));
    Spec file{.target = "loop"};
    file.set("file", path_ + "/" + name);
    file.set("block", uint64_t{512});
    return {.target = "external-snapshot", .options = {}, .children = {file}};
  }
  void expect_contents(const std::string& name) {
    folder_.write("oracle", oracle_);
    run(fmt::format("qemu-img check -q {0} && qemu-img compare -f raw -F qcow2 oracle {0}", name));
  }

  WorkFolder folder_;
  std::string path_;
  std::vector<std::byte> oracle_ = std::vector<std::byte>(kChainDisk);
};

}  // namespace sluice::qcow2::test
