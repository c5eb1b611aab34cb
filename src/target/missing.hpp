// Missing: stands for a child that could not be opened, where its parent's type accepts that
// (TargetType::accepts_missing), such as the lost leg of a degraded mirror.
//
// Its parent asks Target::missing() before it uses the geometry, which is empty. All requests fail.
// With an Error of 0 nothing is missing: it is a place for a child that may be added.
#pragma once

#include <utility>

#include "core/error.hpp"
#include "target/target.hpp"

namespace sluice {

class Missing final : public Target {
 public:
  explicit Missing(Error why) : why_(std::move(why)) { geometry_.volatile_cache = true; }

  const Error* missing() const override { return &why_; }
  // Degraded: a parent that cannot do without it is not opened.
  Health health() const override {
    if (why_.error == 0) return {};
    return {.state = HealthState::degraded, .reason = "missing: " + why_.text};
  }

 private:
  Task do_submit(Request&) override { return Status::from_errno(EIO); }

  const Error why_;
};

inline bool is_free_place(const Target& target) {
  return target.missing() != nullptr && target.missing()->error == 0;
}

}  // namespace sluice
