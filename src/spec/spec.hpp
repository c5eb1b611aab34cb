// Spec: the written description of a stack of targets, e.g.
//
//   stripe(a.img, linear(b.img, c.img), chunk=64k)
//
// or the same as JSON. A Spec is a value: a tree of target names with checked, typed options. It is
// what the command line takes, what the state file keeps and what recovery reads back. It owns all
// of its bytes, may be copied and read from any thread, and never looks at a file.
// docs/man/sluice-spec.7 describes the language.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.hpp"
#include "spec/vocabulary.hpp"

namespace sluice {

// What a spec may not exceed. The first one also bounds both written forms, so that whatever was
// accepted once can be written and read again.
inline constexpr size_t kSpecBytesMax = size_t{1} << 20;
inline constexpr size_t kSpecNestingMax = 32;  // targets inside one another, the top one included
inline constexpr size_t kSpecChildrenMax = 4096;  // of one target

// uint64_t: size and count; bool: flag; string: text and path.
using OptionValue = std::variant<uint64_t, bool, std::string>;

struct Spec {
  std::string target = {};
  // In the order written. What was not written is not here: the target knows its defaults.
  std::vector<std::pair<std::string, OptionValue>> options = {};
  std::vector<Spec> children = {};

  // The value of an option, or the fallback (no, empty) where it was not given. The caller names
  // the right kind: another one ends the program.
  uint64_t number(std::string_view option, uint64_t fallback) const;
  bool flag(std::string_view option) const;
  std::string text(std::string_view option) const;
  bool has(std::string_view option) const;

  // Replaces the value in its place, or adds the option at the end. Checks nothing: check_spec().
  void set(std::string_view option, OptionValue value);

  bool operator==(const Spec&) const = default;
};

// Reads the small language, or JSON when the first character that is not white space is `{`.
// Unknown targets and options, wrong values, wrong numbers of children, excess of a limit: EINVAL
// (ERANGE for a number too large for its type), with the column or the JSON pointer and the nearest
// match.
Result<Spec> parse_spec(std::string_view text, std::span<const TargetSyntax> vocabulary);

// Checks a Spec that was put together by hand (the command line does that) as the parser would.
Result<void> check_spec(const Spec& spec, std::span<const TargetSyntax> vocabulary);

// Written back so that parse_spec() gives an equal Spec, provided that the Spec passes
// check_spec(). `vocabulary` tells sizes from counts. Bytes of a path that are not UTF-8 stay as
// they are in text; in JSON such a value becomes {"hex":"..."}.
std::string to_text(const Spec& spec, std::span<const TargetSyntax> vocabulary);
std::string to_json(const Spec& spec, std::span<const TargetSyntax> vocabulary);

// Makes every option of kind path absolute, so that the Spec means the same in another directory.
// `directory` is absolute. Joins only: symbolic links and ".." are left to the kernel.
void make_paths_absolute(Spec& spec, std::span<const TargetSyntax> vocabulary,
                         std::string_view directory);

}  // namespace sluice
