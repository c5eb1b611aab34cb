// MountPoint: where the file appears. Prepares the place, mounts, and takes all of it back.
//
// Control path only. An existing regular file is mounted over, a path that does not exist is made
// as an empty file and removed again, a directory gets the file as `disk` in it. Root mounts by
// itself, others through fusermount3. What is mounted stays in the mount namespace of the caller of
// mount(), and is unmounted there even if the process has moved to another one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "core/viewpoint.hpp"

namespace sluice::fuse {

class MountPoint {
 public:
  struct Wish {
    std::string at;
    bool read_only = false;
    bool allow_other = false;  // other users than the one who mounts
    uint32_t max_io_bytes = 0;
  };
  // What another process needs to take it over.
  struct Record {
    std::string at;          // absolute
    std::string device;      // MAJOR:MINOR of the mounted file system
    bool directory = false;  // the file lies in it
    bool made = false;       // the file mounted over is ours
    bool by_helper = false;  // through fusermount3
    bool detached = false;   // nowhere in the tree
  };

  // ENOENT, EACCES, EBUSY, ENODEV ...: with what is in the way and what to do.
  static Result<MountPoint> mount(const Wish& wish);
  // Nowhere in the tree: a file that only this process can open, with open_detached(). `at` is not
  // used.
  static Result<MountPoint> mount_detached(const Wish& wish);
  // `home`: from where its path means what it meant to the caller of mount(); empty of a detached
  // mount.
  static Result<MountPoint> adopt(Record record, Descriptor device, Viewpoint home);

  // /dev/fuse, O_NONBLOCK.
  int device() const { return device_.number(); }
  void close_device() { device_ = Descriptor(); }
  Descriptor take_device() { return std::move(device_); }
  Viewpoint take_home() { return std::move(home_); }
  const Record& record() const { return record_; }
  // The path of the file itself.
  std::string file_path() const;
  // Of what is mounted over.
  mode_t permissions() const { return permissions_; }
  uid_t owner() const { return owner_; }
  gid_t group() const { return group_; }

  bool detached() const { return record_.detached; }
  // The file of a detached mount, as O_RDWR and the like say. Once it is served.
  Result<Descriptor> open_detached(int flags) const;

  // Does nothing where it is not mounted any more. EBUSY while it is in use, unless `lazily`.
  Result<void> unmount(bool lazily);
  // Removes what mount() made. Once it is unmounted.
  void remove_made_file() const;

 private:
  MountPoint() = default;
  Result<void> prepare(const std::string& at);
  Result<void> make_file(const std::string& at);
  Result<void> open_device();
  Result<void> mount_as_root(const Wish& wish);
  Result<void> mount_by_helper(const Wish& wish);
  Result<void> unmount_here(bool lazily);
  void follow();

  Record record_;
  Descriptor device_;
  Viewpoint home_;
  Descriptor detached_;  // the mount itself, where it is in no tree
  mode_t permissions_ = 0600;
  mode_t kind_ = 0;  // S_IFREG or S_IFDIR
  uid_t owner_ = 0;
  gid_t group_ = 0;
};

// Whether a FUSE server that has died has left its mount there.
bool is_dead_mount(const std::string& at);

// Unmounts what a dead server has left there, and removes the empty file below if that server had
// `made` it; does nothing where the mount is none of ours.
Result<void> clear_dead_mount(const std::string& at, bool made = false);

}  // namespace sluice::fuse
