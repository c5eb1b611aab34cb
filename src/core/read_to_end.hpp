// Reads a pipe.
#pragma once

#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

namespace sluice {

// All that comes until the other side has closed; empty if it has gone without a word. Blocks.
inline std::string read_to_end(int pipe) {
  std::string text;
  std::array<char, 4096> buffer;
  ssize_t length = 0;
  while ((length = ::read(pipe, buffer.data(), buffer.size())) > 0 ||
         (length < 0 && errno == EINTR)) {
    if (length > 0) text.append(buffer.data(), static_cast<size_t>(length));
  }
  return text;
}

}  // namespace sluice
