// Error: why a control operation (open, add, parse ...) failed, in words for a person.
//
// The text is one sentence that says what was asked, what was found, and what to do. The data path
// never makes one: it has Status.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace sluice {

struct Error {
  int error = 0;     // positive errno; EINVAL where the input itself is wrong
  std::string text;  // one sentence, no trailing newline
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(int error, std::string text) {
  return std::unexpected(Error{error, std::move(text)});
}

}  // namespace sluice
