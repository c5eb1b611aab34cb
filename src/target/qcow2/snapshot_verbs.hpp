// The verbs for internal snapshots.
#pragma once

#include "spec/vocabulary.hpp"

namespace sluice::qcow2 {

inline constexpr OptionSyntax kNewSnapshot[] = {
    {.name = "name", .required = true, .help = "of the snapshot, up to 255 bytes"},
};
inline constexpr OptionSyntax kSomeSnapshot[] = {
    {.name = "name", .required = true, .help = "name or id of the snapshot"},
};

inline constexpr TargetSyntax kSnapshotVerbs[] = {
    {.name = "snapshot-create",
     .summary = "take an internal snapshot of the disk",
     .leaf_option = "name",
     .options = kNewSnapshot},
    {.name = "snapshot-delete",
     .summary = "delete an internal snapshot",
     .leaf_option = "name",
     .options = kSomeSnapshot},
    {.name = "snapshot-list", .summary = "list the internal snapshots"},
    {.name = "snapshot-apply",
     .summary = "go back to an internal snapshot, while nobody uses the disk",
     .leaf_option = "name",
     .options = kSomeSnapshot},
};

}  // namespace sluice::qcow2
