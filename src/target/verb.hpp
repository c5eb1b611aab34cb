// Verbs: the notation of commands to a target (`sluice ctl`), which is that of a spec: the verb
// stands for the target, its arguments for options and children. TargetType::verbs lists them.
//
// Pure functions, safe on any thread. `type` is the name of a target type.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "spec/spec.hpp"

namespace sluice {

// See TargetType::verbs_with_open_files.
bool brings_open_files(std::string_view type, std::string_view verb);

// From words of a command line, such as "share=0.5" or a spec; relative paths are below
// `directory`. EINVAL: no such verb, or other arguments.
Result<Spec> read_verb(std::string_view type, const std::string& name,
                       std::span<const std::string> arguments, std::string_view directory);

// From the JSON that verb_json() has written. Likewise.
Result<Spec> parse_verb(std::string_view json, std::string_view type);
std::string verb_json(const Spec& verb, std::string_view type);

}  // namespace sluice
