// SourceLocation: a position in a spec, for the errors of both notations.
//
// Made on the stack for every element that is read; formatted only for an error, because counting
// columns scans the text from its beginning. It refers to the text and the steps and must not
// outlive them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice {

// One step of a JSON pointer (RFC 6901): a key or an index in the object or array at `parent`. The
// first step has no parent and means the document.
struct JsonStep {
  const JsonStep* parent = nullptr;
  std::string_view key;
  size_t index = 0;
  bool is_index = false;

  JsonStep operator/(std::string_view name) const { return {this, name, 0, false}; }
  JsonStep operator[](size_t item) const { return {this, {}, item, true}; }

  // "/children/1/chunk"; empty for the document itself.
  std::string pointer() const;
};

struct SourceLocation {
  const JsonStep* step = nullptr;  // null if the spec is not JSON
  std::string_view text;           // the spec text, if any
  size_t offset = 0;               // in bytes into `text`
  bool in_text = false;

  static SourceLocation at(std::string_view text, size_t offset, const JsonStep* step) {
    return {step, text, offset, true};
  }
  static SourceLocation at(const JsonStep& step) { return {&step, {}, 0, false}; }

  // " at column 8", " at line 2 column 5", " at /children/1", " at column 8 of /children/1" or
  // " at the top". Columns and lines count from 1, columns in characters.
  std::string describe() const;
};

}  // namespace sluice
