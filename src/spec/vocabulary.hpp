// The words a Spec may use: the targets that exist and the options each one takes.
//
// Plain constant tables, owned by whoever defines the targets (src/target/registry.cpp) and handed
// to the parser, so that the language itself knows no target by name.
//
// What the language takes for granted: names are made of a-z, 0-9, '_' and '-' and begin with a
// letter (never '.', '/' or ':'); no option is called "target" or "children", which JSON needs; a
// name, or an option of one target, occurs once.
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
};

// Every member has an initializer, so that a table may name only those it needs.
struct OptionSyntax {
  std::string_view name = {};
  OptionKind kind = OptionKind::text;
  bool required = false;
  std::string_view fallback = {};  // default as a user would write it; empty: none
  uint64_t minimum = 0;            // for size and count
  uint64_t maximum = UINT64_MAX;   // for size and count
  std::string_view help = {};      // a few words, lower case, no full stop
};

struct TargetSyntax {
  std::string_view name = {};
  std::string_view summary = {};  // a few words, lower case, no full stop
  uint32_t children_minimum = 0;
  uint32_t children_maximum = 0;      // UINT32_MAX: any number
  std::string_view leaf_option = {};  // what `name:TEXT` sets ("file" of loop, "size" of null)
  std::string_view prefix = {};       // what stands before the colon if not the name ("file")
  std::span<const OptionSyntax> options = {};
};

}  // namespace sluice
