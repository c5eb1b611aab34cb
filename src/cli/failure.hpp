// Failure: why a command failed, and its exit code.
//
// Plain values. `usage` means a malformed command line; everything else, including an unknown
// target or a bad value of its options, is a `failure`.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>

#include "core/error.hpp"

namespace sluice::cli {

enum class Exit : uint8_t {
  success = 0,
  failure = 1,
  usage = 2,
  // Of `check`, as in qemu-img:
  corruptions = 2,
  leaks = 3,
  unsupported = 63,
  // Of `compare`, likewise:
  different = 1,
  not_opened = 2,
  not_mapped = 3,
  not_read = 4,
};

struct Failure {
  Exit exit = Exit::failure;
  std::string text;  // one sentence; empty if already reported
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
