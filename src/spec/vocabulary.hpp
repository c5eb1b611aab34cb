// The words that a Spec may use: all targets and their options.
//
// Plain constant tables, owned by the targets' registry (src/target/registry.cpp) and passed to the
// parser, so that the parser knows no target by name.
//
// The notation requires: names are made of a-z, 0-9, '_' and '-' and begin with a letter (never
// '.', '/' or ':'); no option is called "target" or "children", which JSON needs; names of targets,
// and of the options of a target, are unique.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace sluice {

enum class OptionKind : uint8_t {
  size,   // bytes: 4096, 64k, 1.5G, 512s (sectors); binary units
  count,  // a whole number
  flag,   // yes/no, true/false, on/off, 1/0; the bare name means yes
  text,   // free text
  path,   // a file name; relative ones are made absolute when the Spec is stored
  spec,   // another spec, in text, for a target that opens it itself; its paths likewise
};

// Every member has an initializer, so that tables name only the members they need.
struct OptionSyntax {
  std::string_view name = {};
  OptionKind kind = OptionKind::text;
  bool required = false;
  std::string_view fallback = {};  // default as a user would write it; empty: none
  uint64_t minimum = 0;            // for size and count
  uint64_t maximum = UINT64_MAX;   // for size and count
  std::string_view help = {};      // a few words, lower case, no full stop
  bool list = false;               // leaf option: TARGET(A, B) sets it to "A B"
};

struct TargetSyntax {
  std::string_view name = {};
  std::string_view summary = {};  // a few words, lower case, no full stop
  uint32_t children_minimum = 0;
  uint32_t children_maximum = 0;      // UINT32_MAX: any number
  std::string_view leaf_option = {};  // set by `name:TEXT` ("file" of loop, "size" of null)
  std::string_view prefix = {};       // the word before the colon if not the name ("file")
  std::span<const OptionSyntax> options = {};
  std::span<const std::string_view> schemes = {};  // a bare SCHEME://... sets the leaf option
};

}  // namespace sluice
