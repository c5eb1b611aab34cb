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

inline constexpr TargetSyntax kChainVerbs[] = {
    {.name = kExternalSnapshot,
     .summary = "go on in a new image, with the present one as its backing file",
     .children_minimum = 1,
     .children_maximum = 1},
    {.name = kStream,
     .summary = "copy what comes from the backing file into the image, and close that file",
     .options = kStreamOptions},
};

}  // namespace sluice::qcow2
