// The handover of a file by a server of the first release.
#pragma once

#include <string_view>

#include "core/error.hpp"
#include "frontend/handover.hpp"

namespace sluice::fuse {

// Of every file system of the first release, as shown in the mount table.
inline constexpr std::string_view kSourceOfVersion0 = "sluice";

// Translates it to that of this version. Control path only. The server has passed /dev/fuse, and
// unless the file is detached the mount namespace and the root directory of its caller. EINVAL: it
// is no such handover; other errors: the directory of the file cannot be reached.
Result<Handover> from_version_0(Handover old);

}  // namespace sluice::fuse
