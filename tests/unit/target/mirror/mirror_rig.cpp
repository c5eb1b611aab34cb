#include "unit/target/mirror/mirror_rig.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "spec/spec.hpp"
#include "target/missing.hpp"

namespace sluice::test {
namespace {

Spec mirror_of_memory(size_t legs, const mirror::MirrorOptions& options) {
  Spec spec{.target = "mirror"};
  for (size_t i = 0; i < legs; ++i) spec.children.push_back(MirrorRig::spec_of_leg(i));
  if (options.prefer) spec.set("prefer", uint64_t{*options.prefer + 1});
  std::string numbers;
  for (const size_t leg : mirror::LegsOf(options.write_mostly)) {
    numbers += fmt::format("{}{}", numbers.empty() ? "" : "+", leg + 1);
  }
  if (!numbers.empty()) spec.set("write_mostly", numbers);
  return spec;
}

}  // namespace

MirrorRig::MirrorRig(const MirrorShape& shape, mirror::MirrorOptions options)
    : MirrorRig(shape, make_mirror_legs(shape), options) {}

MirrorRig::MirrorRig(const MirrorShape& shape, const std::vector<Bytes>& legs,
                     mirror::MirrorOptions options)
    : shape_(shape) {
  Target::Children children;
  for (const Bytes& leg : legs) {
    if (leg.empty()) {
      disks.push_back(nullptr);
      children.push_back(std::make_unique<Missing>(Error{ENOENT, "it is not there"}));
      continue;
    }
    auto disk = std::make_unique<VolatileDisk>(power, leg.size(), true);
    disk->offer_discard();
    disk->load(leg);
    disks.push_back(disk.get());
    children.push_back(std::move(disk));
  }
  mirror = std::make_unique<mirror::Mirror>(std::move(children),
                                            mirror_of_memory(legs.size(), options), options);
}

Spec MirrorRig::spec_of_leg(size_t leg) {
  Spec spec{.target = "mem"};
  spec.set("size", uint64_t{leg + 1} << 20);
  return spec;
}

MirrorRig::~MirrorRig() {
  task_.reset();
  tag_.reset();
  if (started_) stop();
}

std::string MirrorRig::start() {
  for (const auto purpose : {LifeCall::Purpose::look, LifeCall::Purpose::serve}) {
    LifeRequest life(ring);
    LifeCall call{.purpose = purpose, .jobs = &jobs_};
    Task starting = mirror->start(life.request, call);
    perform_until([&] { return starting.finished(); });
    if (!starting.status().ok()) return call.why;
    if (purpose == LifeCall::Purpose::serve) break;
    Task stopping = mirror->stop(life.request, call);
    perform_until([&] { return stopping.finished(); });
  }
  LifeRequest life(ring);
  Task beginning = jobs_.begin_here(life.request);
  perform_until([&] { return beginning.finished(); });
  started_ = true;
  return {};
}

void MirrorRig::stop() {
  started_ = false;
  LifeRequest life(ring);
  LifeCall call;
  {
    Task ending = jobs_.end_here(life.request);
    perform_until([&] { return ending.finished(); });
  }
  {
    Task forgetting = jobs_.end_some(life.request, jobs_.all());
    perform_until([&] { return forgetting.finished(); });
  }
  Task stopping = mirror->stop(life.request, call);
  perform_until([&] { return stopping.finished(); });
  perform_until([&] { return ring.pending() == 0; });  // the cancellations of pauses
}

Task& MirrorRig::submit(Op op, uint64_t offset, uint64_t length, std::byte pattern) {
  task_.reset();
  tag_ = std::make_unique<TestTag>(ring);
  memory_.assign(length, pattern);
  const bool has_data = op == Op::read || op == Op::write;
  Request& request = has_data ? tag_->make(op, offset, std::span(memory_))
                              : tag_->make(op, offset, op == Op::flush ? 0 : length);
  task_ = std::make_unique<Task>(mirror->submit(request));
  ring.settle();
  return *task_;
}

int MirrorRig::serve_fast_zeroes(uint64_t offset, uint64_t length) {
  TestTag tag(ring);
  Request& request = tag.make(Op::write_zeroes, offset, length);
  request.fast_only = true;
  Task task = mirror->submit(request);
  perform_until([&] { return task.finished(); });
  return task.status().error();
}

int MirrorRig::serve(Op op, uint64_t offset, uint64_t length, std::byte pattern) {
  const Task& task = submit(op, offset, length, pattern);
  perform_until([&] { return task.finished(); });
  return task.status().error();
}

int MirrorRig::control(const std::string& text) {
  ControlCall call;
  call.verb.target = text.substr(0, text.find_first_of("( "));
  if (text.ends_with(" repair")) call.verb.set("repair", true);
  if (const size_t at = text.find('('); at != std::string::npos) {
    call.verb.set("leg", text.substr(at + 1, text.size() - at - 2));
  }
  return control(call);
}

int MirrorRig::add(const Spec& spec, const Bytes& contents) { return give("add", spec, contents); }

int MirrorRig::give(const std::string& verb, const Spec& spec, const Bytes& contents,
                    const std::string& leg) {
  ControlCall call;
  call.verb = {.target = verb, .children = {spec}};
  if (!leg.empty()) call.verb.set("leg", leg);
  auto disk = std::make_unique<VolatileDisk>(power, contents.size(), true);
  disk->offer_discard();
  disk->load(contents);
  disks.push_back(disk.get());
  call.children.push_back(std::move(disk));
  return control(call);
}

int MirrorRig::control(ControlCall& call) {
  LifeRequest life(ring);
  call.publish = [this](const Spec& own) {
    published_.push_back(own);
    return kOk;
  };
  Task task = mirror->control(life.request, call);
  perform_until([&] { return task.finished(); });
  why_ = call.why;
  return task.status().error();
}

void MirrorRig::perform_until(const std::function<bool()>& done) {
  ring.settle();
  while (!done()) {
    if (ring.pending() == 0) {
      ADD_FAILURE() << "it waits for ever";
      return;
    }
    ring.perform(pick ? pick(ring.pending()) : 0);
  }
}

void MirrorRig::make_whole() {
  int steps = 0;
  perform_until([&] {
    const Health health = mirror->health();
    return ++steps > 100'000 || (health.state == HealthState::ok &&
                                 number("resync_left_bytes") == 0 && number("dirty_bytes") == 0);
  });
  EXPECT_LT(steps, 100'000) << mirror->health().reason;
}

uint64_t MirrorRig::number(std::string_view name) const {
  const Health health = mirror->health();
  return std::ranges::find(health.numbers, name, &HealthNumber::name)->value;
}

mirror::LegRecord MirrorRig::record(size_t leg) {
  return record_on_leg(shape_, contents(VolatileDisk::Left::durable)[leg]);
}

std::vector<MirrorRig::Bytes> MirrorRig::contents(VolatileDisk::Left left) {
  const std::scoped_lock guard(power.mutex);
  std::vector<Bytes> legs;
  for (const VolatileDisk* const disk : disks) {
    legs.push_back(disk == nullptr ? Bytes() : disk->after_cut(left, random_));
  }
  return legs;
}

}  // namespace sluice::test
