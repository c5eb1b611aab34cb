// shown(): makes untrusted text safe for an error message or a log line.
//
// Pure functions, safe on any thread. Except for shell_word(), results are short; they never
// contain control characters or invalid UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice {

// The length of the valid UTF-8 character at the beginning of `text` (1 to 4); 0 if there is none.
// Valid as in the Unicode standard, table 3-7: no surrogates, no overlong forms.
size_t utf8_length(std::string_view text);

bool is_utf8(std::string_view text);

// 'text' in single quotes; control characters and invalid bytes become \xNN, the rest of a long
// text "...".
std::string shown(std::string_view text);

// The same without quotes, truncated after `longest` bytes of input.
std::string printable(std::string_view text, size_t longest);

// The whole text as one shell word, for commands that users copy: a.img, 'my disk.img',
// $'odd\x0aname'.
std::string shell_word(std::string_view text);

}  // namespace sluice
