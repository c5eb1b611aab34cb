// complete(): completes the last word of a command line, for shells.
//
// Searches for devices, opens nothing, never fails.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::cli {

// `sluice complete WORD...`, for the scripts in completions/. Not for users, so not in the help.
inline constexpr std::string_view kCompleteWord = "complete";

// A line of the output that also requests file names.
inline constexpr std::string_view kFilesWanted = ":files";

// Returns candidates for the last of `words`, the words after `sluice` up to the cursor. A
// candidate replaces the whole last word; a description may follow after a tab.
std::vector<std::string> complete(std::span<const std::string> words);

}  // namespace sluice::cli
