// Information from sysfs about the block devices of this machine. Nothing here opens a device or
// accesses a file system, so a hanging one does not block. Control path only.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace sluice {

// The sysfs directory of a device, independent of the names of its nodes.
std::string sysfs_of(dev_t device);
// The first line of a file, without the newline; empty if the file cannot be read.
std::string first_line(const std::string& path);

// "sda1", "dm-0"; empty: no device has that number.
std::string block_name(dev_t device);
// The name to show to users: "/dev/sda1", "/dev/dm-0 (vg-home)".
std::string shown_device(dev_t device);

// The disk of a partition, or the disk itself.
dev_t disk_of(dev_t device);
std::vector<dev_t> partitions_of(dev_t disk);
// True if data written to one of the two may be read from the other: the same device, or a disk and
// its partition.
bool share_blocks(dev_t one, dev_t other);

// The devices on top of this one, and those below it: device-mapper, md, bcache.
std::vector<dev_t> made_of(dev_t device);
std::vector<dev_t> made_from(dev_t device);

}  // namespace sluice
