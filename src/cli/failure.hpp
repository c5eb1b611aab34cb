// Failure: why a command ended without success, and the exit code that says so.
//
// Plain values. `usage` is for a command line that is wrong as it is written; all else, an unknown
// target or a bad value of one of its options included, is a `failure`.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>

#include "core/error.hpp"

namespace sluice::cli {

enum class Exit : uint8_t { success = 0, failure = 1, usage = 2 };

struct Failure {
  Exit exit = Exit::failure;
  std::string text;  // one sentence; empty when it has been said already
};

template <typename T>
using Outcome = std::expected<T, Failure>;

inline std::unexpected<Failure> usage(std::string text) {
  return std::unexpected(Failure{Exit::usage, std::move(text)});
}

inline std::unexpected<Failure> failed(std::string text) {
  return std::unexpected(Failure{Exit::failure, std::move(text)});
}

inline std::unexpected<Failure> failed(const Error& error) { return failed(error.text); }

}  // namespace sluice::cli
