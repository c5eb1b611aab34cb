// MountPoint: the file system of one file, made but not yet mounted in the tree, and its properties
// once it is.
//
// Control path only. As root, the server makes the mount and has the keeper move it to its place,
// or attach a loop device to it, so that no server holds a descriptor of the file it serves. Other
// users mount through fusermount3. Unmounting may wait for the server: the keeper does it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "frontend/fuse/place.hpp"

namespace sluice::fuse {

class MountPoint {
 public:
  struct Options {
    std::optional<Place> place;  // nullopt: never in the tree
    bool read_only = false;
    bool allow_other = false;  // users other than the mounting user
    uint32_t max_io_bytes = 0;
  };

  // Creates the place; root's mount is not attached yet. ENOENT, EACCES, ENODEV ...: with the
  // obstacle and advice.
  static Result<MountPoint> make(Options options);
  // Adopts another process's. take_over() supplies the character device.
  static MountPoint adopt(std::string file_system, std::optional<Place> place, bool by_helper);
  void take_over(Descriptor fuse_device) { fuse_device_ = std::move(fuse_device); }

  // /dev/fuse, O_NONBLOCK.
  int fuse_device() const { return fuse_device_.number(); }
  void close_fuse_device() { fuse_device_ = Descriptor(); }
  // MAJOR:MINOR of the file system.
  const std::string& file_system() const { return file_system_; }
  bool by_helper() const { return by_helper_; }
  const std::optional<Place>& place() const { return place_; }
  std::optional<Place>& place() { return place_; }
  // Moves out the detached mount, for the keeper.
  Descriptor take_mount() { return std::move(mount_); }
  // The path of the file itself; empty if not in the tree.
  std::string file_path() const;

 private:
  MountPoint() = default;
  Result<void> make_as_root(const Options& options);
  Result<void> mount_by_helper(const Options& options);
  Result<void> open_fuse_device();

  std::optional<Place> place_;
  Descriptor fuse_device_;
  Descriptor mount_;
  std::string file_system_;
  bool by_helper_ = false;
};

// True if a dead server has left `file_system` mounted anywhere.
bool is_left_mounted(const std::string& file_system);

// Removes the remains of a dead server: its connection, if still open, its mounts, and the empty
// file below, if it was `made` by the server as `inode` (0: unknown) at the path `at`.
struct Remains {
  std::string file_system;
  std::string at;  // empty for a loop device
  bool by_helper = false;
  bool made = false;
  uint64_t inode = 0;
};
Result<void> clear_remains(const Remains& remains);

}  // namespace sluice::fuse
