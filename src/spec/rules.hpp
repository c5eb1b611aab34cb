// The rules of a spec that hold in every notation: the valid targets, options, values and numbers
// of children, and the error messages.
//
// Used by the parsers of both notations and by check_spec(), only within src/spec. Stateless, safe
// on any thread; never parses a notation itself.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "spec/source_location.hpp"
#include "spec/spec.hpp"

namespace sluice {

// The prefix of the target that a bare file name stands for.
inline constexpr std::string_view kFilePrefix = "file";

const TargetSyntax* find_target(std::span<const TargetSyntax> vocabulary, std::string_view name);
const OptionSyntax* find_option(const TargetSyntax& target, std::string_view name);

// The word before the colon of `prefix:TEXT`; empty for a target without this form.
std::string_view leaf_prefix(const TargetSyntax& target);
const TargetSyntax* find_prefix(std::span<const TargetSyntax> vocabulary, std::string_view prefix);

// True if the text begins like a URI: with a scheme and "://".
bool begins_as_uri(std::string_view text);
// The target whose URIs have the scheme of this one; null: there is none.
const TargetSyntax* find_scheme(std::span<const TargetSyntax> vocabulary, std::string_view uri);

std::unexpected<Error> unknown_target(std::string_view name, const SourceLocation& location,
                                      std::span<const TargetSyntax> vocabulary);
std::unexpected<Error> unknown_prefix(std::string_view word, std::string_view prefix,
                                      const SourceLocation& location,
                                      std::span<const TargetSyntax> vocabulary);
// `more`: other words that are valid at this location.
std::unexpected<Error> unknown_option(const TargetSyntax& target, std::string_view name,
                                      const SourceLocation& location,
                                      std::span<const std::string_view> more = {});

// Parses `text` by the option's kind. add_option() checks the range.
Result<OptionValue> read_value(const OptionSyntax& option, std::string_view text,
                               const SourceLocation& location);

// Writes a value such that read_value() reads it: 65536 -> "64k" for a size, "yes" for a flag.
std::string write_value(const OptionSyntax& option, const OptionValue& value);

// Adds a value after checking its kind and range; refuses a duplicate option.
Result<void> add_option(Spec& spec, const TargetSyntax& target, const OptionSyntax& option,
                        OptionValue value, const SourceLocation& location);

// Checks that a target may be nested `depth` levels deep (the top is 1).
Result<void> check_nesting(size_t depth, const SourceLocation& location);

// Checks the limit of children for any target. Called while children are read, so that no text
// creates more of them. `location` is that of the last child.
Result<void> check_child_limit(const TargetSyntax& target, size_t count,
                               const SourceLocation& location);

// Checks that `spec` has the required options and number of children of its target. Does not
// descend into the children.
Result<void> check_complete(const Spec& spec, const TargetSyntax& target,
                            const SourceLocation& location);

// Checks that the written spec fits into kSpecBytesMax.
Result<void> check_written_size(const Spec& spec, std::span<const TargetSyntax> vocabulary);

// The parsers of the two notations (parse.cpp, json.cpp). `depth` is the nesting depth of the
// target, `step` the JSON string that contains the text, or null.
Result<Spec> parse_text(std::string_view text, std::span<const TargetSyntax> vocabulary,
                        size_t depth, const JsonStep* step);
Result<Spec> parse_json(std::string_view text, std::span<const TargetSyntax> vocabulary);

}  // namespace sluice
