#include "target/verb.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "spec/rules.hpp"
#include "spec/shown.hpp"
#include "target/registry.hpp"

namespace sluice {
namespace {

std::span<const TargetSyntax> verbs_of(std::string_view type) {
  const TargetType* const found = find_target_type(type);
  return found == nullptr ? std::span<const TargetSyntax>() : found->verbs;
}

// An argument may be a spec of a new child.
std::vector<TargetSyntax> vocabulary_of(std::string_view type) {
  const auto verbs = verbs_of(type);
  std::vector<TargetSyntax> words(verbs.begin(), verbs.end());
  words.insert(words.end(), target_vocabulary().begin(), target_vocabulary().end());
  return words;
}

Result<void> check_name(std::string_view type, std::string_view name) {
  const auto verbs = verbs_of(type);
  if (find_target(verbs, name) != nullptr) return {};
  if (verbs.empty()) return fail(EINVAL, fmt::format("a target {} has no verbs", shown(type)));
  std::vector<std::string_view> names;
  for (const TargetSyntax& verb : verbs) names.push_back(verb.name);
  return fail(EINVAL, fmt::format("a target {} has no verb {}: it has {}", shown(type), shown(name),
                                  fmt::join(names, ", ")));
}

// Whether a verb has one argument and no other, which is taken as it is: a name may have any
// character.
bool is_plain(const TargetSyntax& verb) {
  return !verb.leaf_option.empty() && verb.options.size() == 1 && verb.children_maximum == 0;
}

Result<Spec> read_plain_verb(std::string_view type, const std::string& name,
                             std::string_view option, std::span<const std::string> arguments) {
  if (arguments.size() != 1) {
    return fail(EINVAL, fmt::format("'{}' of a target {} takes one argument, its {}, found {}",
                                    name, shown(type), option, arguments.size()));
  }
  Spec verb{.target = name};
  verb.set(option, arguments.front());
  return verb;
}

}  // namespace

bool brings_open_files(std::string_view type, std::string_view verb) {
  const TargetType* const found = find_target_type(type);
  if (found == nullptr) return false;
  const auto names = found->verbs_with_open_files;
  return std::ranges::find(names, verb) != names.end();
}

Result<Spec> read_verb(std::string_view type, const std::string& name,
                       std::span<const std::string> arguments, std::string_view directory) {
  if (auto known = check_name(type, name); !known) return std::unexpected(known.error());
  const auto vocabulary = vocabulary_of(type);
  const TargetSyntax& syntax = *find_target(verbs_of(type), name);
  if (is_plain(syntax)) return read_plain_verb(type, name, syntax.leaf_option, arguments);
  auto verb = parse_spec(fmt::format("{}({})", name, fmt::join(arguments, ", ")), vocabulary);
  if (!verb) return verb;
  if (auto made = make_paths_absolute(*verb, vocabulary, directory); !made) {
    return std::unexpected(made.error());
  }
  return verb;
}

Result<Spec> parse_verb(std::string_view json, std::string_view type) {
  auto verb = parse_spec(json, vocabulary_of(type));
  if (!verb) return verb;
  if (auto known = check_name(type, verb->target); !known) return std::unexpected(known.error());
  return verb;
}

std::string verb_json(const Spec& verb, std::string_view type) {
  return to_json(verb, vocabulary_of(type));
}

}  // namespace sluice
