// The verbs that Chain carries out.
#pragma once

#include "spec/vocabulary.hpp"

namespace sluice::qcow2 {

inline constexpr std::string_view kExternalSnapshot = "external-snapshot";
inline constexpr std::string_view kStream = "stream";

inline constexpr OptionSyntax kStreamOptions[] = {
    {.name = "cancel",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "end the job; what it has copied stays"},
};

inline constexpr std::string_view kCommit = "commit";
inline constexpr OptionSyntax kCommitOptions[] = {
    {.name = "pivot",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "move the rest, and go on in the backing file"},
    {.name = "cancel",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "end it; what has been moved stays there"},
};

inline constexpr TargetSyntax kChainVerbs[] = {
    {.name = kExternalSnapshot,
     .summary = "go on in a new image, with the present one as its backing file",
     .children_minimum = 1,
     .children_maximum = 1},
    {.name = kStream,
     .summary = "copy what comes from the backing file into the image, and close that file",
     .options = kStreamOptions},
    {.name = kCommit,
     .summary = "move what the image has itself to its backing file",
     .children_maximum = 1,
     .options = kCommitOptions},
};

inline constexpr std::string_view kVerbsWithOpenFiles[] = {kCommit};

}  // namespace sluice::qcow2
