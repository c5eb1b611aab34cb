// The verbs that a thin volume carries out for its pool (`sluice ctl`).
#pragma once

#include "persistent/superblock.hpp"
#include "spec/vocabulary.hpp"

namespace sluice::thin {

inline constexpr std::string_view kCreate = "create";
inline constexpr std::string_view kSnapshot = "snapshot";
inline constexpr std::string_view kDelete = "delete";
inline constexpr std::string_view kList = "list";
inline constexpr std::string_view kReserve = "reserve-metadata-snapshot";
inline constexpr std::string_view kRelease = "release-metadata-snapshot";

inline constexpr OptionSyntax kVolumeOption[] = {
    {.name = "id", .required = true, .help = "of the volume"},
};

inline constexpr OptionSyntax kSnapshotOptions[] = {
    {.name = "id",
     .kind = OptionKind::count,
     .required = true,
     .maximum = persistent::kDeviceIdMost,
     .help = "of the new volume"},
    {.name = "origin",
     .kind = OptionKind::count,
     .maximum = persistent::kDeviceIdMost,
     .help = "the volume of which it is a snapshot; this one if not given"},
};

inline constexpr TargetSyntax kVerbs[] = {
    {.name = kCreate,
     .summary = "make an empty volume",
     .leaf_option = "id",
     .options = kVolumeOption},
    {.name = kSnapshot,
     .summary = "make a volume with the present content of another one",
     .leaf_option = "id",
     .options = kSnapshotOptions},
    {.name = kDelete,
     .summary = "delete a volume that is not served",
     .leaf_option = "id",
     .options = kVolumeOption},
    {.name = kList, .summary = "list the volumes of the pool"},
    {.name = kReserve, .summary = "keep the metadata as it is now, for tools that read it (-m)"},
    {.name = kRelease, .summary = "give up what reserve-metadata-snapshot has kept"},
};

}  // namespace sluice::thin
