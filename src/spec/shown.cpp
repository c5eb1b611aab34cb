#include "spec/shown.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace sluice {
namespace {

// Long enough to recognise the text, short enough to keep the message readable.
constexpr size_t kLongestShown = 64;

uint8_t byte_at(std::string_view text, size_t index) { return static_cast<uint8_t>(text[index]); }

}  // namespace

std::string shown(std::string_view text) {
  return fmt::format("'{}'", printable(text, kLongestShown));
}

std::string printable(std::string_view text, size_t longest) {
  std::string out;
  size_t position = 0;
  while (position < text.size() && position < longest) {
    const size_t length = utf8_length(text.substr(position));
    const uint8_t byte = byte_at(text, position);
    // C1 controls (U+0080 to U+009F) control terminals like the ASCII ones.
    const bool control = byte < 0x20 || byte == 0x7F ||
                         (length == 2 && byte == 0xC2 && byte_at(text, position + 1) < 0xA0);
    if (length == 0 || control) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
      position += 1;
    } else {
      out += text.substr(position, length);
      position += length;
    }
  }
  if (position < text.size()) out += "...";
  return out;
}

std::string shell_word(std::string_view text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos) {
    return std::string(text);
  }
  const bool is_plain_text = printable(text, std::string_view::npos) == text;
  std::string word;
  for (size_t position = 0; position < text.size();) {
    const char byte = text[position];
    const size_t length = std::max<size_t>(utf8_length(text.substr(position)), 1);
    if (is_plain_text) {
      word += byte == '\'' ? "'\\''" : text.substr(position, length);
    } else if (byte == '\'' || byte == '\\') {
      word += {'\\', byte};
    } else {
      word += printable(text.substr(position, length), length);
    }
    position += length;
  }
  return fmt::format("{}'{}'", is_plain_text ? "" : "$", word);
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const uint8_t first = byte_at(text, 0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (text.size() < length) return 0;
  // The second byte reveals overlong forms, surrogates and values above U+10FFFF.
  const uint8_t lowest = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const uint8_t highest = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte_at(text, 1) < lowest || byte_at(text, 1) > highest) return 0;
  for (size_t index = 2; index < length; ++index) {
    if ((byte_at(text, index) & 0xC0) != 0x80) return 0;
  }
  return length;
}

}  // namespace sluice
