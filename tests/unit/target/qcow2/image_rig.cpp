#include "unit/target/qcow2/image_rig.hpp"

#include <fmt/format.h>

#include <utility>

#include "target/control_call.hpp"
#include "target/life/life_call.hpp"

namespace sluice::qcow2::test {
namespace {

constexpr uint64_t kRigBlock = 512;

std::vector<std::byte> pattern(uint64_t offset, uint64_t length, uint64_t number) {
  std::vector<std::byte> bytes(length);
  BlockOracle::fill(number, offset, bytes);
  return bytes;
}

}  // namespace

ImageRig::ImageRig(const Setup& setup) {
  std::unique_ptr<Target> backing;
  std::string create = "qemu-img create -q -f qcow2 image.qcow2 ";
  if (setup.backing_bytes != 0) {
    const auto bytes = pattern(0, setup.backing_bytes, 1);
    folder.write("base.raw", bytes);
    auto base = std::make_unique<VolatileDisk>(backing_power, bytes.size(), false);
    base->load(bytes);
    backing = std::move(base);
    create += "-b base.raw -F raw ";
  }
  EXPECT_EQ(folder.run(create + setup.options), 0) << folder.output();
  if (!setup.commands.empty()) EXPECT_EQ(folder.run(setup.commands), 0) << folder.output();
  auto bytes = folder.read("image.qcow2");
  bytes.resize((bytes.size() + kRigBlock - 1) / kRigBlock * kRigBlock);
  std::unique_ptr<VolatileDisk> data;
  if (const auto data_bytes = folder.read("data.raw"); !data_bytes.empty()) {
    data = std::make_unique<VolatileDisk>(power, data_bytes.size(), false);
    data->load(data_bytes);
  }
  auto header = parse_header(bytes, bytes.size());
  if (!header) throw std::runtime_error(header.error().text);
  auto storage = std::make_unique<VolatileDisk>(power, bytes.size(), false);
  if (setup.can_discard) storage->offer_discard();
  storage->load(bytes);
  disk = storage.get();
  target = std::make_unique<Qcow2Target>(
      Image::Options{.name = "image", .writable = true, .cache_bytes = setup.cache_bytes}, *header,
      Qcow2Target::Parts{
          .storage = std::move(storage), .data = std::move(data), .backing = std::move(backing)});
}

ImageRig::~ImageRig() = default;

int ImageRig::start() {
  LifeRequest life(ring);
  LifeCall call;
  Task starting = target->start(life.request, call);
  ring.perform_all();
  return starting.status().error();
}

int ImageRig::stop() {
  LifeRequest life(ring);
  LifeCall call;
  Task stopping = target->stop(life.request, call);
  ring.perform_all();
  return stopping.status().error();
}

int ImageRig::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
  auto asked = std::make_unique<Asked>(ring);
  Request& request = asked->tag.make(Op::write_zeroes, offset, length);
  request.may_unmap = may_unmap;
  asked->task.emplace(target->submit(request));
  return wait(std::move(asked));
}

int ImageRig::grow(uint64_t size_bytes) {
  LifeRequest life(ring);
  Task growing = target->grow(life.request, size_bytes);
  ring.perform_all();
  return growing.status().error();
}

int ImageRig::control(const std::string& verb, const std::string& name) {
  LifeRequest life(ring);
  ControlCall call{.verb = {.target = verb}};
  call.verb.set("name", name);
  call.deadline = ControlCall::Clock::now() + limit;
  Task controlling = target->control(life.request, call);
  ring.perform_all();
  EXPECT_TRUE(controlling.finished());
  why = call.why;
  answer = call.answer;
  return controlling.status().error();
}

std::vector<std::byte> ImageRig::snapshot(const std::string& name) {
  std::mt19937_64 random(1);
  folder.write("read.qcow2", disk->after_cut(VolatileDisk::Left::newest, random));
  EXPECT_EQ(folder.run("qemu-img convert -f qcow2 -O raw -l " + name + " read.qcow2 read.raw"), 0)
      << folder.output();
  return folder.read("read.raw");
}

testing::AssertionResult ImageRig::has(uint64_t offset, uint64_t length, uint64_t number) {
  auto asked = begin(Op::read, offset, length);
  ring.perform_all();
  if (asked->error() != 0) return testing::AssertionFailure() << "errno " << asked->error();
  const auto expected = pattern(offset, length, number);
  for (uint64_t i = 0; i < length; i += kRigBlock) {
    const auto found = std::span(asked->memory).subspan(i, kRigBlock);
    if (std::ranges::equal(found, std::span(expected).subspan(i, kRigBlock))) continue;
    return testing::AssertionFailure()
           << "the block at " << offset + i << " begins with " << std::to_integer<int>(found[0]);
  }
  return testing::AssertionSuccess();
}

std::unique_ptr<Asked> ImageRig::begin(Op op, uint64_t offset, uint64_t length, uint64_t number) {
  auto asked = std::make_unique<Asked>(ring);
  if (op == Op::read) asked->memory.resize(length);
  if (op == Op::write) asked->memory = pattern(offset, length, number);
  Request& request = asked->memory.empty() ? asked->tag.make(op, offset, length)
                                           : asked->tag.make(op, offset, std::span(asked->memory));
  request.may_unmap = true;
  asked->task.emplace(target->submit(request));
  return asked;
}

int ImageRig::wait(std::unique_ptr<Asked> asked) {
  ring.perform_all();
  if (!asked->task->finished()) {
    ADD_FAILURE() << "the request waits for ever";
    return ETIMEDOUT;
  }
  return asked->error();
}

void ImageRig::finish(std::mt19937_64& random) {
  ring.settle();
  while (ring.pending() != 0) ring.perform(random() % ring.pending());
}

std::string ImageRig::check() {
  std::mt19937_64 random(1);
  folder.write("checked.qcow2", disk->after_cut(VolatileDisk::Left::newest, random));
  const int status = folder.run("qemu-img check -f qcow2 checked.qcow2");
  return status == 0 ? "" : fmt::format("{}: {}", status, folder.output());
}

}  // namespace sluice::qcow2::test
