// The words for dirty bitmaps: verbs with their arguments, and the context of block status.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "spec/vocabulary.hpp"

namespace sluice::qcow2 {

inline constexpr std::string_view kBitmapContext = "qemu:dirty-bitmap:";  // and the name
inline constexpr uint32_t kBitmapDirty = 1 << 0;                          // its flag

inline constexpr std::string_view kBitmapAdd = "bitmap-add";
inline constexpr std::string_view kBitmapRemove = "bitmap-remove";
inline constexpr std::string_view kBitmapClear = "bitmap-clear";
inline constexpr std::string_view kBitmapEnable = "bitmap-enable";
inline constexpr std::string_view kBitmapDisable = "bitmap-disable";
inline constexpr std::string_view kBitmapMerge = "bitmap-merge";

constexpr bool is_bitmap_verb(std::string_view verb) { return verb.starts_with("bitmap-"); }

inline constexpr std::string_view kBitmapName = "name";
inline constexpr std::string_view kBitmapGranularity = "granularity";
inline constexpr std::string_view kBitmapDisabled = "disabled";
inline constexpr std::string_view kBitmapSource = "source";

inline constexpr OptionSyntax kBitmapNameOption = {
    .name = kBitmapName, .required = true, .help = "the bitmap"};
inline constexpr OptionSyntax kOnlyName[] = {kBitmapNameOption};
inline constexpr OptionSyntax kAddOptions[] = {
    kBitmapNameOption,
    {.name = kBitmapGranularity,
     .kind = OptionKind::size,
     .help = "bytes of the disk for each bit: a power of two from 512 to 2G"},
    {.name = kBitmapDisabled,
     .kind = OptionKind::flag,
     .fallback = "no",
     .help = "it does not follow writes yet"}};
inline constexpr OptionSyntax kMergeOptions[] = {
    kBitmapNameOption,
    {.name = kBitmapSource, .required = true, .help = "the bitmap whose bits are added"}};

inline constexpr TargetSyntax kBitmapVerbs[] = {
    {.name = kBitmapAdd,
     .summary = "add an empty dirty bitmap, which follows all writes",
     .leaf_option = kBitmapName,
     .options = kAddOptions},
    {.name = kBitmapRemove,
     .summary = "remove a dirty bitmap",
     .leaf_option = kBitmapName,
     .options = kOnlyName},
    {.name = kBitmapClear,
     .summary = "clear all bits of a dirty bitmap",
     .leaf_option = kBitmapName,
     .options = kOnlyName},
    {.name = kBitmapEnable,
     .summary = "let a dirty bitmap follow the writes",
     .leaf_option = kBitmapName,
     .options = kOnlyName},
    {.name = kBitmapDisable,
     .summary = "freeze a dirty bitmap",
     .leaf_option = kBitmapName,
     .options = kOnlyName},
    {.name = kBitmapMerge,
     .summary = "set all bits that another dirty bitmap has, of this image or of another disk",
     .children_maximum = 1,
     .options = kMergeOptions},
};

}  // namespace sluice::qcow2
