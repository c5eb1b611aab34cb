// Error: why a control operation (open, add, parse ...) failed, as a message for users.
//
// The text is one sentence: the request, the obstacle, and the remedy. The data path uses Status
// instead.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace sluice {

struct Error {
  int error = 0;     // positive errno; EINVAL if the input itself is wrong
  std::string text;  // one sentence, no trailing newline
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(int error, std::string text) {
  return std::unexpected(Error{error, std::move(text)});
}

}  // namespace sluice
