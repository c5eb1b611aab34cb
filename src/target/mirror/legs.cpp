#include "target/mirror/legs.hpp"

#include <fmt/format.h>

#include "core/events.hpp"
#include "core/log.hpp"

namespace sluice::mirror {

Legs::Legs(Target& mirror, size_t named) : mirror_(mirror), named_((LegSet{1} << named) - 1) {
  for (size_t index = 0; index < kMostLegs; ++index) {
    legs_.push_back(std::make_unique<Leg>(mirror, index));
  }
}

LegSet Legs::lost() const {
  LegSet lost = 0;
  for (size_t index = 0; index < size(); ++index) {
    if (legs_[index]->has_lost) lost |= leg_bit(index);
  }
  return lost;
}

LegSet Legs::sound_of(LegSet in_sync) const {
  const LegSet sound = in_sync & ~lost();
  return sound != 0 ? sound : in_sync;
}

void Legs::report(LegSet legs, std::string_view what) const {
  for (const size_t index : LegsOf(legs)) {
    const std::string text =
        fmt::format("leg {} ({}) {}", number_of(index), legs_[index]->label, what);
    log().warn("{}: {}", mirror_.name(), text);
    emit({.kind = kHealthChanged, .text = text, .target = mirror_.name()});
  }
}

void Legs::fence(const std::string& why) {
  log().error("{}: {}", mirror_.name(), why);
  {
    const std::scoped_lock guard(fencing_);
    why_fenced_ = why;
  }
  set_members(members().with_fence());
  set_following(0);
  emit({.kind = kHealthChanged, .text = why, .target = mirror_.name()});
}

std::string Legs::why_fenced() const {
  const std::scoped_lock guard(fencing_);
  return why_fenced_;
}

}  // namespace sluice::mirror
