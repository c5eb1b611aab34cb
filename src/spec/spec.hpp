// Spec: the written description of a stack of targets, e.g.
//
//   stripe(a.img, linear(b.img, c.img), chunk=64k)
//
// or the same as JSON. A Spec is a value: a tree of target names with checked, typed options. The
// command line takes one, the record stores it, and recovery reads it. It owns all of its bytes,
// may be copied and read on any thread, and never accesses a file. docs/man/sluice-spec.7 describes
// the language.
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

struct JsonValue;

// The limits of a spec. kSpecBytesMax also limits both written forms, so that every accepted spec
// can be written and read again.
inline constexpr size_t kSpecBytesMax = size_t{1} << 20;
inline constexpr size_t kSpecNestingMax = 32;     // levels of targets, including the top one
inline constexpr size_t kSpecChildrenMax = 4096;  // of one target

// uint64_t: size and count; bool: flag; string: text and path.
using OptionValue = std::variant<uint64_t, bool, std::string>;

struct Spec {
  std::string target = {};
  // In the order written, without defaults: the target knows its defaults.
  std::vector<std::pair<std::string, OptionValue>> options = {};
  std::vector<Spec> children = {};

  // The value of an option; the fallback (no, empty) if no value of that kind was given.
  uint64_t number(std::string_view option, uint64_t fallback) const;
  bool flag(std::string_view option) const;
  std::string text(std::string_view option) const;
  bool has(std::string_view option) const;

  // Replaces the value in its place, or appends the option. Checks nothing: see check_spec().
  void set(std::string_view option, OptionValue value);

  bool operator==(const Spec&) const = default;
};

// Parses the text notation, or JSON if the first character that is not white space is `{`. Unknown
// targets and options, wrong values, wrong numbers of children, an exceeded limit: EINVAL (ERANGE
// for a number too large for its type), with the column or the JSON pointer and the nearest match.
Result<Spec> parse_spec(std::string_view text, std::span<const TargetSyntax> vocabulary);

// Checks a Spec that was built by the program (as the command line does) like the parser.
Result<void> check_spec(const Spec& spec, std::span<const TargetSyntax> vocabulary);

// Writes a Spec that passes check_spec() so that parse_spec() returns an equal one. `vocabulary`
// distinguishes sizes from counts. A path that is not UTF-8 is written unchanged in text; in JSON
// it becomes {"hex":"..."}.
std::string to_text(const Spec& spec, std::span<const TargetSyntax> vocabulary);
std::string to_json(const Spec& spec, std::span<const TargetSyntax> vocabulary);
JsonValue spec_json(const Spec& spec, std::span<const TargetSyntax> vocabulary);

// Makes every option of kind path absolute, also those of the specs in its options, so that the
// Spec means the same in another directory. Joins only: symbolic links and ".." are left to the
// kernel. EINVAL: `directory` is not absolute, or an option of kind spec holds none.
Result<void> make_paths_absolute(Spec& spec, std::span<const TargetSyntax> vocabulary,
                                 std::string_view directory);

}  // namespace sluice
