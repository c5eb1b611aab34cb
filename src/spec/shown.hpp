// shown(): text from outside as it may stand in an error message or a log line.
//
// Pure functions, owned by nobody, safe on any thread. What they return never holds a control
// character or invalid UTF-8, and is never long, whatever came in.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice {

// The bytes of the valid UTF-8 character that `text` begins with (1 to 4); 0 where there is none.
// Valid as in the Unicode standard, table 3-7: no surrogates, no overlong forms.
size_t utf8_length(std::string_view text);

bool is_utf8(std::string_view text);

// 'text' in single quotes; control characters and invalid bytes as \xNN, the rest of a long text
// as "...".
std::string shown(std::string_view text);

// The same without the quotes, cut after `longest` bytes of input.
std::string printable(std::string_view text, size_t longest);

}  // namespace sluice
