// joined(): tables of the vocabulary, one after the other, as one.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

namespace sluice {

template <typename Row, size_t... kCounts>
constexpr auto joined(const Row (&... tables)[kCounts]) {
  std::array<Row, (kCounts + ...)> all{};
  auto next = all.begin();
  ((next = std::ranges::copy(tables, next).out), ...);
  return all;
}

}  // namespace sluice
