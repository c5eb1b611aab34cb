// Fingerprint: identifies a file or disk again after it was closed, even if its name now leads to
// another file or disk.
//
// For a file: its file system, its inode, and its creation time, because inode numbers are reused.
// For a disk: its unique name, such as a WWID, if any, else its device number and its serial or
// sequence number; for a partition also its first sector. Valid until the machine reboots: a file
// system may then get another device number. A value for the control path.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.hpp"

namespace sluice {

struct Fingerprint {
  std::string is = {};  // "file 254:0 inode 12", "disk naa.5000c50015ea71ad", "disk 7:3 sequence 9"
  int64_t born_ns = 0;  // creation time; 0: the file system does not know it
  // Not compared:
  std::string path = {};    // the path by which it was opened
  std::string target = {};  // of the stack that opened it, see StackNode::path; empty: not known

  static Result<Fingerprint> of(int descriptor, std::string path);
  bool is_same_as(const Fingerprint& other) const;
};

}  // namespace sluice
