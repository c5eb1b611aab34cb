// Place: the path where a file is to appear, opened once: checks, mounting and removal apply to the
// same file, even if others change the path meanwhile.
//
// Control path only. It holds descriptors of the caller's mount namespace, but none of later
// mounts.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"

namespace sluice::fuse {

class Place {
 public:
  // Opens an existing file or directory, or a path in an existing directory. Creates nothing.
  // ENOENT, EINVAL, EBUSY (a mount is there) ...: with the obstacle and advice.
  static Result<Place> open(const std::string& at);
  // Adopts another process's place: `directory` is its directory(), or is supplied by take_over().
  static Place adopt(Descriptor directory, std::string path, bool is_directory, bool made,
                     uint64_t inode);
  void take_over(Descriptor directory) { directory_ = std::move(directory); }

  // Creates the file if there was none.
  Result<void> make();
  // Removes the file if it is still the empty one that was created. Call once nothing is mounted on
  // it.
  void remove() const;

  // The caller's path at that time: a parent directory may have been renamed since.
  const std::string& path() const { return path_; }
  bool is_directory() const { return S_ISDIR(kind_); }
  // True if the file did not exist before make().
  bool made() const { return made_; }
  uint64_t inode() const { return inode_; }  // of the created file
  // To mount on.
  int target() const { return target_.number(); }
  void close_target() { target_ = Descriptor(); }
  int directory() const { return directory_.number(); }

  // Of the existing file.
  mode_t permissions() const { return made_ || is_directory() ? 0600 : kind_ & 0777; }
  uid_t owner() const { return owner_; }
  gid_t group() const { return group_; }

 private:
  Result<void> look_at_target(const std::string& at);

  std::string path_;
  Descriptor directory_;  // the parent
  std::string name_;      // in the parent
  Descriptor target_;
  bool made_ = false;
  uint64_t inode_ = 0;
  mode_t kind_ = 0;
  uid_t owner_ = 0;
  gid_t group_ = 0;
};

}  // namespace sluice::fuse
