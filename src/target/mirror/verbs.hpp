// The verbs that a mirror carries out (`sluice ctl`).
#pragma once

#include "spec/vocabulary.hpp"

namespace sluice::mirror {

inline constexpr std::string_view kFail = "fail";
inline constexpr std::string_view kReadd = "readd";
inline constexpr std::string_view kAdd = "add";
inline constexpr std::string_view kReplace = "replace";
inline constexpr std::string_view kSpare = "spare";
inline constexpr std::string_view kRemove = "remove";
inline constexpr std::string_view kScrub = "scrub";
inline constexpr std::string_view kResync = "resync";

inline constexpr OptionSyntax kLegOption[] = {
    {.name = "leg", .required = true, .help = "number of the leg in the spec, or its text there"},
};

inline constexpr OptionSyntax kReplaceOptions[] = {
    {.name = "leg",
     .required = true,
     .help = "number of the leg that is to be replaced, or its text in the spec"},
};

inline constexpr OptionSyntax kScrubOptions[] = {
    {.name = "repair",
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "make legs that differ equal to the first one that is in sync"},
    {.name = "cancel", .kind = OptionKind::flag, .fallback = "no", .help = "end it"},
};

inline constexpr OptionSyntax kResyncOptions[] = {
    {.name = "pause", .kind = OptionKind::flag, .fallback = "no", .help = "stop it for a while"},
    {.name = "resume", .kind = OptionKind::flag, .fallback = "no", .help = "go on"},
    {.name = "min", .kind = OptionKind::size, .help = "bytes a second, at least"},
    {.name = "max", .kind = OptionKind::size, .help = "bytes a second, at most; 0: no limit"},
};

inline constexpr TargetSyntax kVerbs[] = {
    {.name = kFail,
     .summary = "let a leg go, as if it had failed",
     .leaf_option = "leg",
     .options = kLegOption},
    {.name = kReadd,
     .summary = "take a leg back that has left; what it lacks is copied",
     .leaf_option = "leg",
     .options = kLegOption},
    {.name = kAdd,
     .summary = "take a new leg, or one that was missing",
     .children_minimum = 1,
     .children_maximum = 1},
    {.name = kReplace,
     .summary = "let a leg go once a new one, or a spare, has all data",
     .children_maximum = 1,
     .options = kReplaceOptions},
    {.name = kSpare,
     .summary = "keep a leg without data ready for one that fails",
     .children_minimum = 1,
     .children_maximum = 1},
    {.name = kRemove,
     .summary = "forget a leg that has left or is missing",
     .leaf_option = "leg",
     .options = kLegOption},
    {.name = kScrub, .summary = "compare the legs in the background", .options = kScrubOptions},
    {.name = kResync,
     .summary = "pause or resume the copying to a leg, or change its rate",
     .options = kResyncOptions},
};

}  // namespace sluice::mirror
