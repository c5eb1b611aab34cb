// Uuid, Generation, History: what tells arrays, legs and their pasts apart.
//
// Values. Random numbers come from the kernel; none is ever derived from another, and none counts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sluice::mirror {

struct Uuid {
  std::array<std::byte, 16> bytes{};

  static Uuid random();  // version 4 of RFC 9562; never zero

  bool is_zero() const { return *this == Uuid{}; }
  std::string text() const;  // 36 characters, lower case
  auto operator<=>(const Uuid&) const = default;
};

// A time during which writes went to one set of legs that were in sync. The next generation begins
// when writes go on without one of them.
struct Generation {
  uint64_t id = 0;       // random, not 0
  uint64_t seconds = 0;  // since the epoch, when it began: for users, never for decisions

  static Generation begin_now();

  std::string text() const;  // "7d0c12aa55e0f113 (2026-10-18 12:51:07 UTC)"
  bool operator==(const Generation&) const = default;
};

// The generations whose writes a leg has seen, newest first: at least one, at most kMost. The
// oldest drop out.
class History {
 public:
  static constexpr size_t kMost = 64;

  explicit History(Generation first) : generations_{first} {}
  // `generations`: 1 to kMost, newest first, with distinct ids.
  explicit History(std::span<const Generation> generations)
      : generations_(generations.begin(), generations.end()) {}

  const Generation& current() const { return generations_.front(); }
  std::span<const Generation> generations() const { return generations_; }
  // 0: the current one. nullopt: not in the history.
  std::optional<size_t> position(uint64_t id) const;
  bool has(uint64_t id) const { return position(id).has_value(); }

  // Begins the next generation.
  void begin(Generation next);

  bool operator==(const History&) const = default;

 private:
  std::vector<Generation> generations_;
};

}  // namespace sluice::mirror
