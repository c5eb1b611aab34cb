// Mirror: its children: the legs, and places for more.
#include <tuple>
#include <utility>

#include "core/log.hpp"
#include "target/mirror/mirror.hpp"
#include "target/mirror/resync.hpp"
#include "target/mirror/scrub.hpp"
#include "target/mirror/sweep.hpp"
#include "target/mirror/write_behind.hpp"
#include "target/missing.hpp"
#include "target/registry.hpp"

namespace sluice::mirror {

std::unique_ptr<Target> empty_place() {
  auto place = std::make_unique<Missing>(Error{});
  place->set_name("an empty place");
  return place;
}

namespace {

Target::Children with_places(Target::Children legs) {
  while (legs.size() < kMostLegs) legs.push_back(empty_place());
  return legs;
}

}  // namespace

// A target has as many children as it is opened with: those that may come are places.
Mirror::Mirror(Children legs, const Spec& spec, const MirrorOptions& options)
    : Target(with_places(std::move(legs))),
      options_(options),
      legs_(*this, spec.children.size()),
      spec_(spec) {
  for (const size_t index : LegsOf(legs_.named())) {
    leg(index).label = label_of(to_text(spec.children[index], target_vocabulary()));
  }
}

std::vector<Target*> Mirror::named_children() const {
  std::vector<Target*> named;
  for (const size_t index : LegsOf(legs_.named())) named.push_back(&child(index));
  return named;
}

Mirror::~Mirror() = default;

Task Mirror::start_children(Request& request, LifeCall& call) {
  for (size_t index = 0; index < legs_.size(); ++index) {
    Task starting = leg(index).child.start(request, call);
    const Status started = co_await starting;
    if (started.ok()) continue;
    log().warn("{}: leg {} ({}) is missing: {}", name(), number_of(index), leg(index).label,
               call.why);
    leg(index).child.lose(request, call);
  }
  co_return kOk;
}

Task Mirror::stop_children(Request& request, LifeCall& call) {
  for (size_t left = legs_.size(); left-- > 0;) {
    Task stopping = leg(left).child.stop(request, call);
    std::ignore = co_await stopping;
    leg(left).superblock.reset();
  }
  co_return kOk;
}

// A leg that one ring cannot use is out on all of them, durably, before the first request comes.
Task Mirror::attach(Request& request, LifeCall& call) {
  LegSet lacking = 0;
  Error first;
  for (size_t index = 0; index < legs_.size(); ++index) {
    Task attaching = leg(index).child.attach(request, call);
    const Status attached = co_await attaching;
    if (attached.ok()) continue;
    log().warn("{}: leg {} ({}) cannot be used by all threads, and is left out: {}", name(),
               number_of(index), leg(index).label, call.why);
    if (lacking == 0) first = {attached.error(), call.why};
    leg(index).child.lack(request, call);
    lacking |= leg_bit(index);
  }
  if (lacking == 0) co_return kOk;
  for (const size_t index : LegsOf(lacking)) leg(index).is_unattached = true;
  Task leaving = membership_.let_go(request, lacking, members().in_sync() & ~lacking);
  const Status left = co_await leaving;
  if (left.ok()) co_return kOk;
  Task detaching = detach_first(request, call, legs_.size());
  std::ignore = co_await detaching;
  co_return call.fail(first.error, std::move(first.text));
}

// What waits for legs goes out while they have all their connections.
Task Mirror::detach(Request& request, LifeCall& call) {
  if (behind_) {
    Task draining = behind_->end(request);
    std::ignore = co_await draining;
  }
  Task detaching = detach_first(request, call, legs_.size());
  co_return co_await detaching;
}

Task Mirror::detach_first(Request& request, LifeCall& call, size_t count) {
  while (count-- > 0) {
    Task detaching = leg(count).child.detach(request, call);
    std::ignore = co_await detaching;
  }
  co_return kOk;
}

}  // namespace sluice::mirror
