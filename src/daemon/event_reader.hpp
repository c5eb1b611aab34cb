// EventReader: reads the events of the state directory in the order in which they were written.
//
// It opens the files without following links, never writes, and skips lines that are no event. Used
// by one thread, which may block.
#pragma once

#include <sys/types.h>

#include <optional>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "daemon/device_event.hpp"
#include "daemon/state_directory.hpp"

namespace sluice {

class EventReader {
 public:
  // The first call returns all events, each later call the events written since. Events are missed
  // only if the file was renamed twice between two calls while others had it open. No directory: no
  // events. EBADMSG: another kind of file has the name.
  Result<std::vector<DeviceEvent>> read();

 private:
  struct Part {
    Descriptor file;
    ino_t inode = 0;
    off_t read_bytes = 0;
    EventLines lines = {};

    void read_on(std::vector<DeviceEvent>& events);
  };

  static Result<std::optional<Part>> open(const StateDirectory& directory, const char* name);
  Result<void> begin(const StateDirectory& directory, std::vector<DeviceEvent>& events);
  Result<void> follow(const StateDirectory& directory, std::vector<DeviceEvent>& events);

  bool begun_ = false;
  std::optional<Part> before_;  // recently renamed: a late writer may still have it open
  std::optional<Part> current_;
};

}  // namespace sluice
