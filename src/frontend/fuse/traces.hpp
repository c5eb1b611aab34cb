// The names of the values that a file served by FUSE keeps in the record of its device.
#pragma once

#include <string_view>

namespace sluice::fuse {

inline constexpr std::string_view kMade = "made";               // the file was created ...
inline constexpr std::string_view kMadeInode = "made_inode";    // ... as this inode; 0: not yet
inline constexpr std::string_view kByHelper = "by_helper";      // mounted through fusermount3
inline constexpr std::string_view kFileSystem = "file_system";  // see name_file_system()

}  // namespace sluice::fuse
