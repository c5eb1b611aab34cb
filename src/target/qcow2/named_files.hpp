// The files that an image names: its backing file and its data file. Such a name is text of a
// stranger: it never opens anything but a local file, and only one that the user's policy allows.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace sluice::qcow2 {

enum class NamePolicy : uint8_t {
  none,      // none at all
  same_dir,  // files of the directory in which the image lies
  any,       // any local file
};

// "none", "same-dir", "any".
std::optional<NamePolicy> parse_policy(std::string_view text);

// The path of the file that the image at `image` names as `name`. `role` is for messages: "backing
// file". EACCES: the policy, or the name is not that of a local file; ENOENT and others: there is
// no such file.
Result<std::string> resolve_name(const std::string& image, const std::string& name,
                                 NamePolicy policy, std::string_view role);

}  // namespace sluice::qcow2
