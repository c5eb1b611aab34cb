// Chains that change while requests run: external snapshots and stream, on files, with QEMU as the
// judge.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "core/buffer.hpp"
#include "frontend/direct/device.hpp"
#include "support/work_folder.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"
#include "unit/target/qcow2/image_bytes.hpp"

namespace sluice::qcow2::test {
namespace {

using sluice::test::WorkFolder;
using testing::HasSubstr;

constexpr uint64_t kChainDisk = 16 << 20;
constexpr uint64_t kChainUnit = 4096;

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

TEST_F(ChainOfImages, GrowsUnderLoad) {
  Served served(image("image.qcow2"), oracle_);
  std::atomic<bool> ends = false;
  std::thread load([&] {
    std::mt19937_64 random(1);
    while (!ends && !testing::Test::HasFailure()) served.ask(random);
  });
  std::string below = "image.qcow2";
  for (const std::string name : {"one.qcow2", "two.qcow2", "three.qcow2"}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(served.control(snapshot_to(name, below)), "");
    below = name;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  ends = true;
  load.join();
  EXPECT_EQ(served.recorded, image("three.qcow2"));
  // Others may read the former ones, and nobody may write to any of them.
  run("qemu-io -r -f qcow2 -c 'read 0 64k' two.qcow2");
  EXPECT_NE(folder_.run("qemu-io -f qcow2 -c 'write 0 64k' two.qcow2"), 0);
  EXPECT_NE(folder_.run("qemu-io -f qcow2 -c 'write 0 64k' three.qcow2"), 0);
  // As after a handover that has failed.
  served.end();
  served.begin();
  std::mt19937_64 random(2);
  for (int i = 0; i < 50; ++i) served.ask(random);
  served.close();
  for (const std::string name : {"image.qcow2", "one.qcow2", "two.qcow2"}) {
    run("qemu-img check -q " + name);
  }
  expect_contents("three.qcow2");
  Served again(served.recorded, oracle_);
  for (int i = 0; i < 50; ++i) again.ask(random);
}

TEST_F(ChainOfImages, StaysAsItIsIfItCannotBeRecorded) {
  Served served(image("image.qcow2"), oracle_);
  std::mt19937_64 random(1);
  for (int i = 0; i < 50; ++i) served.ask(random);
  Spec verb = snapshot_to("one.qcow2", "image.qcow2");
  run("cp one.qcow2 before");
  served.record_fails = true;
  EXPECT_THAT(served.control(verb), HasSubstr("cannot be written"));
  for (int i = 0; i < 50; ++i) served.ask(random);
  run("cmp -n $(stat -c %s before) one.qcow2 before");
  served.record_fails = false;
  EXPECT_EQ(served.control(verb), "");
  for (int i = 0; i < 50; ++i) served.ask(random);
  served.close();
  expect_contents("one.qcow2");
}

TEST_F(ChainOfImages, RefusesAnOverlayThatDoesNotFit) {
  Served served(image("image.qcow2"), oracle_);
  const Spec verb = snapshot_to("one.qcow2", "image.qcow2");
  const auto refuses = [&](const std::string& create, const std::string& why) {
    run(create);
    EXPECT_THAT(served.control(verb), HasSubstr(why)) << create;
  };
  refuses("qemu-img create -q -f qcow2 -u -b image.qcow2 -F qcow2 one.qcow2 17M", "17825792 bytes");
  refuses("qemu-img create -q -f qcow2 one.qcow2 16M", "fresh one");
  refuses("qemu-img create -q -f qcow2 -u -b image.qcow2 -F raw one.qcow2 16M", "fresh one");
  refuses("truncate -s 0 one.qcow2; truncate -s 1M one.qcow2", "magic");
  refuses(
      "qemu-img create -q -f qcow2 -u -b base -F qcow2 one.qcow2 16M && qemu-img rebase -u -b ''"
      " one.qcow2 && qemu-io -f qcow2 -c 'write 0 64k' one.qcow2 && qemu-img rebase -u -b"
      " image.qcow2 -F qcow2 one.qcow2",
      "not empty");
  std::mt19937_64 random(1);
  for (int i = 0; i < 50; ++i) served.ask(random);
}

TEST_F(ChainOfImages, IsStreamedUnderLoad) {
  Served served(image("image.qcow2"), oracle_);
  std::mt19937_64 random(1);
  for (int i = 0; i < 20; ++i) served.ask(random);
  EXPECT_EQ(served.control(snapshot_to("one.qcow2", "image.qcow2")), "");
  for (int i = 0; i < 20; ++i) served.ask(random);
  const Spec stream{.target = "stream"};
  EXPECT_EQ(served.control(stream), "");
  EXPECT_THAT(served.control(stream), HasSubstr("already"));
  EXPECT_THAT(served.control(snapshot_to("two.qcow2", "one.qcow2")), HasSubstr("being streamed"));
  Spec cancel = stream;
  cancel.set("cancel", true);
  EXPECT_EQ(served.control(cancel), "");
  EXPECT_EQ(served.control(stream), "");
  for (int i = 0; i < 4000 && served.job_runs(); ++i) served.ask(random);
  EXPECT_FALSE(served.job_runs());
  EXPECT_THAT(served.control(stream), HasSubstr("no backing file"));
  run("rm base image.qcow2");
  EXPECT_EQ(served.stack->files().size(), 1U) << "the files below are closed";
  for (int i = 0; i < 100; ++i) served.ask(random);
  served.close();
  run("qemu-img info one.qcow2 > info; ! grep backing info");
  expect_contents("one.qcow2");
}

}  // namespace
}  // namespace sluice::qcow2::test
