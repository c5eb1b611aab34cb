// A vocabulary for tests, independent of the real targets. It has one target of every shape that
// the language knows. The fuzz target uses it too.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "spec/vocabulary.hpp"

namespace sluice::test {

inline constexpr auto kSizeOptions = std::to_array<OptionSyntax>({
    {.name = "size", .kind = OptionKind::size, .required = true, .help = "size of the device"},
});

inline constexpr auto kLoopOptions = std::to_array<OptionSyntax>({
    {.name = "file", .kind = OptionKind::path, .required = true, .help = "file or block device"},
    {.name = "offset", .kind = OptionKind::size, .help = "where the device begins"},
    {.name = "size", .kind = OptionKind::size, .help = "its size"},
    {.name = "buffered_io", .kind = OptionKind::flag, .help = "use the page cache"},
    {.name = "read_only", .kind = OptionKind::flag, .help = "refuse writes"},
});

inline constexpr auto kRemoteOptions = std::to_array<OptionSyntax>({
    {.name = "uri",
     .kind = OptionKind::text,
     .required = true,
     .help = "where the export is",
     .list = true},
    {.name = "connections", .kind = OptionKind::count, .minimum = 1, .maximum = 16},
});

inline constexpr auto kRemoteSchemes = std::to_array<std::string_view>({"net", "net+unix"});

inline constexpr auto kStripeOptions = std::to_array<OptionSyntax>({
    {.name = "chunk", .kind = OptionKind::size, .minimum = 4096, .maximum = uint64_t{1} << 30},
});

inline constexpr auto kFaultOptions = std::to_array<OptionSyntax>({
    {.name = "message", .kind = OptionKind::text},
    {.name = "every", .kind = OptionKind::count},
    {.name = "sync", .kind = OptionKind::flag},
    {.name = "log", .kind = OptionKind::path},
});

inline constexpr auto kVocabulary = std::to_array<TargetSyntax>({
    {.name = "null", .leaf_option = "size", .options = kSizeOptions},
    {.name = "mem", .leaf_option = "size", .options = kSizeOptions},
    {.name = "loop", .leaf_option = "file", .prefix = "file", .options = kLoopOptions},
    {.name = "remote", .leaf_option = "uri", .options = kRemoteOptions, .schemes = kRemoteSchemes},
    {.name = "hole"},
    {.name = "linear", .children_minimum = 1, .children_maximum = UINT32_MAX},
    {.name = "stripe",
     .children_minimum = 1,
     .children_maximum = UINT32_MAX,
     .options = kStripeOptions},
    {.name = "fault", .children_minimum = 1, .children_maximum = 1, .options = kFaultOptions},
    {.name = "verify", .children_minimum = 2, .children_maximum = 2},
});

}  // namespace sluice::test
