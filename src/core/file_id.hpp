// FileId: identifies a file or block device, independent of its names, as long as it is open. A
// value for the control path.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace sluice {

struct FileId {
  mode_t mode = 0;
  dev_t device = 0;  // the file system's
  ino_t inode = 0;
  dev_t number = 0;  // of a block device; the same for each of its nodes
  int mount = 0;     // id of the mount through which the path was resolved; 0: unknown

  bool is_block_device() const;
  // True if data written to one of the two may be read from the other.
  bool shares_data(const FileId& other) const;
};

// Neither makes a file system refresh its attributes, and neither triggers automounts; but
// resolving a path may block on a file system that does not answer.
std::optional<FileId> identify(int descriptor);
std::optional<FileId> identify(const std::string& path);

}  // namespace sluice
