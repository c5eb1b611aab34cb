#include "target/rbd/state.hpp"

#include <fmt/format.h>

#include <utility>

#include "core/events.hpp"
#include "core/log.hpp"

namespace sluice::rbd {

void State::fail(std::string_view why) {
  {
    const std::scoped_lock guard(mutex_);
    if (failed_.exchange(true)) return;
    why_ = why;
  }
  log().error("{}: {}", name_, why);
  tell();
}

void State::begin(uint64_t bytes) {
  failed_ = false;
  timed_out_ = false;
  size_bytes_ = bytes;
}

void State::timed_out() {
  timeouts.fetch_add(1, std::memory_order_relaxed);
  if (timed_out_.exchange(true)) return;
  log().error("{}: the cluster has not answered within {} s", name_, options.timeout.count());
  tell();
}

void State::end_timeouts() {
  if (!timed_out_.exchange(false)) return;
  log().info("{}: the cluster answers again", name_);
  tell();
}

void State::set_size(uint64_t bytes, uint64_t served) {
  bool is_told = false, has_grown = false;
  {
    const std::scoped_lock guard(mutex_);
    const bool was_short = size_bytes_ < served_bytes_;
    const uint64_t before = size_bytes_.exchange(bytes);
    served_bytes_ = served;
    const bool is_short = bytes < served;
    is_told = was_short != is_short || (is_short && before != bytes);
    has_grown = bytes > served && std::exchange(announced_bytes_, bytes) != bytes;
  }
  if (is_told) tell();
  if (!has_grown) return;
  const std::string text = fmt::format("the image has {} bytes now", bytes);
  log().info("{}: {}", name_, text);
  emit({.kind = kBackingGrown, .text = text, .target = name_});
}

void State::expect_size(uint64_t bytes) {
  const std::scoped_lock guard(mutex_);
  announced_bytes_ = bytes;
}

void State::tell() {
  const Health now = condition();
  const std::string text = now.reason.empty()
                               ? std::string(to_string(now.state))
                               : fmt::format("{}: {}", to_string(now.state), now.reason);
  emit({.kind = kHealthChanged, .text = text, .target = name_});
}

Health State::condition() const {
  const std::scoped_lock guard(mutex_);
  if (failed_) return {.state = HealthState::failed, .reason = why_};
  if (size_bytes_ < served_bytes_) {
    return {.state = HealthState::failed,
            .reason = fmt::format("the image has shrunk to {} bytes, and the device has {}: "
                                  "requests beyond fail",
                                  size_bytes(), served_bytes_)};
  }
  if (timed_out_) {
    return {.state = HealthState::degraded,
            .reason = fmt::format("the cluster has not answered within {} s, so requests fail",
                                  options.timeout.count())};
  }
  return {};
}

Health State::health() const {
  using Kind = HealthNumber::Kind;
  Health now = condition();
  now.numbers = {
      {"timeout_seconds", static_cast<uint64_t>(options.timeout.count()), Kind::gauge},
      {"image_bytes", size_bytes(), Kind::gauge},
      {"timeouts", timeouts},
      {"retries", retries},
      {"direct_bytes", direct_bytes},
      {"copied_bytes", copied_bytes},
  };
  return now;
}

}  // namespace sluice::rbd
