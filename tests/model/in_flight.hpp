// The requests that a model run has in flight: a list of unique_ptr to something with `task`,
// `offset` and `length`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::test {

// Takes those that have ended from the list, in order, and calls `end` with each.
template <typename Running, typename End>
void collect_ended(std::vector<std::unique_ptr<Running>>& running, End end) {
  for (size_t i = 0; i < running.size();) {
    if (!running[i]->task->finished()) {
      ++i;
      continue;
    }
    const auto ended = std::move(running[i]);
    running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
    end(*ended);
  }
}

template <typename Running>
bool overlap(const Running& one, const Running& other) {
  return one.offset < other.offset + other.length && other.offset < one.offset + one.length;
}

// Whether none of the list is where this one is.
template <typename Running>
bool lies_apart(const std::vector<std::unique_ptr<Running>>& running, const Running& one) {
  return std::ranges::none_of(running, [&](const auto& other) { return overlap(one, *other); });
}

}  // namespace sluice::test
