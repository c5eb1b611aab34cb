// Mounts of Sluice's FUSE files, in this mount namespace and in those of other processes.
//
// Control path only. Reads the kernel's tables (core/mounts.hpp) and never accesses a file system.
// unmount() may block on the server of the mount: call it only in processes that do not serve.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace sluice::fuse {

// The type of our files in the mount table.
inline constexpr std::string_view kMountType = "fuse.sluice";

struct Mounted {
  std::string file_system;  // see name_file_system()
  std::string type;         // fuse.sluice
};

// The topmost mount at `at` in this thread's namespace; nullopt: none.
std::optional<Mounted> mounted_at(const std::string& at);

// A unique source for a new file system of ours, as shown in the mount table.
std::string new_source();
// The persistent name of a file system: "MAJOR:MINOR SOURCE". The kernel reuses the numbers alone
// after an unmount. Sends no request to a server.
std::string name_file_system(int descriptor, const std::string& source);
// MAJOR:MINOR.
std::string number_of(const std::string& file_system);

// A mount of one of our files, and a process in its mount namespace.
struct Sighting {
  pid_t process = 0;
  std::string at;
};
// One per mount namespace, that of this process first.
std::vector<Sighting> sightings(const std::string& file_system);

// Unmounts it in every namespace. EBUSY, without effect: in use, unless `lazily`. `by_helper`:
// through fusermount3, which mounted it for a user.
Result<void> unmount(const std::string& file_system, bool by_helper, bool lazily);

}  // namespace sluice::fuse
