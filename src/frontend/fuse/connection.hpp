// Connection: the kernel's file to abort a FUSE connection, even if processes use it or hang:
// /sys/fs/fuse/connections/N/abort, where N is the minor number of the file system.
//
// Opened in advance, so that an abort needs no lookup. It holds no reference to the connection. Any
// thread; never blocks.
#pragma once

#include <string>

#include "core/descriptor.hpp"

namespace sluice::fuse {

class Connection {
 public:
  Connection() = default;
  // `file_system`: see name_file_system(). If the kernel's control file system is not available,
  // the result cannot abort.
  static Connection open(const std::string& file_system);
  explicit Connection(Descriptor abort) : abort_(std::move(abort)) {}

  bool can_abort() const { return abort_.valid(); }
  // All users of the file get an error from now on.
  void abort() const;
  int descriptor() const { return abort_.number(); }

 private:
  Descriptor abort_;
};

}  // namespace sluice::fuse
