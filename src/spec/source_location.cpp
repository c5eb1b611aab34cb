#include "spec/source_location.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "spec/shown.hpp"

namespace sluice {
namespace {

std::string describe_column(std::string_view before);
std::string escape_key(std::string_view key);

}  // namespace

std::string SourceLocation::describe() const {
  const std::string pointer = step == nullptr ? std::string() : step->pointer();
  if (!in_text) return pointer.empty() ? " at the top" : fmt::format(" at {}", pointer);
  const std::string column = describe_column(text.substr(0, offset));
  return pointer.empty() ? column : fmt::format("{} of {}", column, pointer);
}

std::string JsonStep::pointer() const {
  if (parent == nullptr) return {};
  const std::string last = is_index ? fmt::format("{}", index) : escape_key(key);
  return fmt::format("{}/{}", parent->pointer(), last);
}

namespace {

std::string describe_column(std::string_view before) {
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::string_view row = before.substr(before.rfind('\n') + 1);  // npos + 1 is 0
  const auto column = 1 + std::count_if(row.begin(), row.end(), [](char byte) {
                        return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
                      });
  if (line == 1) return fmt::format(" at column {}", column);
  return fmt::format(" at line {} column {}", line, column);
}

std::string escape_key(std::string_view key) {
  std::string escaped;
  for (const char byte : printable(key, 64)) {
    if (byte == '~') {
      escaped += "~0";
    } else if (byte == '/') {
      escaped += "~1";
    } else {
      escaped += byte;
    }
  }
  return escaped;
}

}  // namespace
}  // namespace sluice
