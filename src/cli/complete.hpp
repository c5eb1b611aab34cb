// complete(): what could stand at the end of a command line, for the shells.
//
// Looks for devices, opens nothing, fails never.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::cli {

// `sluice complete WORD...`, for the scripts in completions/. Nothing to type, so not in the help.
inline constexpr std::string_view kCompleteWord = "complete";

// What a line of the answer says when file names are wanted as well.
inline constexpr std::string_view kFilesWanted = ":files";

// Candidates for the last of `words`, which are those behind `sluice` up to the cursor. A candidate
// replaces the whole last word; behind a tab there may be a description.
std::vector<std::string> complete(std::span<const std::string> words);

}  // namespace sluice::cli
