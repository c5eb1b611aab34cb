// The rules of a spec that hold in every notation: which targets, options, values and numbers of
// children there may be, and the sentences that say so.
//
// Used by the readers of both notations and by check_spec(), and by nobody outside src/spec. Owns
// nothing, safe on any thread; never reads a notation itself.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "spec/place.hpp"
#include "spec/spec.hpp"

namespace sluice {

// The prefix of the target that a bare file name means.
inline constexpr std::string_view kFilePrefix = "file";

const TargetSyntax* find_target(std::span<const TargetSyntax> vocabulary, std::string_view name);
const OptionSyntax* find_option(const TargetSyntax& target, std::string_view name);

// What stands before the colon of `prefix:TEXT`; empty for a target that cannot be written so.
std::string_view leaf_prefix(const TargetSyntax& target);
const TargetSyntax* find_prefix(std::span<const TargetSyntax> vocabulary, std::string_view prefix);

std::unexpected<Error> unknown_target(std::string_view name, const Place& place,
                                      std::span<const TargetSyntax> vocabulary);
std::unexpected<Error> unknown_prefix(std::string_view word, std::string_view prefix,
                                      const Place& place, std::span<const TargetSyntax> vocabulary);
// `more`: other words that would have been right in this place.
std::unexpected<Error> unknown_option(const TargetSyntax& target, std::string_view name,
                                      const Place& place,
                                      std::span<const std::string_view> more = {});

// The value that `text` writes, by the option's kind. Its range is checked by add_option().
Result<OptionValue> read_value(const OptionSyntax& option, std::string_view text,
                               const Place& place);

// The value as read_value() takes it: 65536 -> "64k" for a size, "yes" for a flag.
std::string write_value(const OptionSyntax& option, const OptionValue& value);

// Adds a value of the right kind and range; refuses an option given twice.
Result<void> add_option(Spec& spec, const TargetSyntax& target, const OptionSyntax& option,
                        OptionValue value, const Place& place);

// Whether another target may stand `depth` levels deep (the top is 1).
Result<void> check_nesting(size_t depth, const Place& place);

// Whether any target may have `count` children. Asked before all are read, so that no text makes
// more of them. `place` is that of the last one.
Result<void> check_child_limit(const TargetSyntax& target, size_t count, const Place& place);

// Whether `spec` has the options and the number of children that its target wants. Its children are
// not looked into.
Result<void> check_complete(const Spec& spec, const TargetSyntax& target, const Place& place);

// Whether the spec can be written within kSpecBytesMax.
Result<void> check_written_size(const Spec& spec, std::span<const TargetSyntax> vocabulary);

// The two notations (parse.cpp, json.cpp). `depth` is where the target stands, `step` the JSON
// string that the text comes from, or null.
Result<Spec> parse_text(std::string_view text, std::span<const TargetSyntax> vocabulary,
                        size_t depth, const JsonStep* step);
Result<Spec> parse_json(std::string_view text, std::span<const TargetSyntax> vocabulary);

}  // namespace sluice
