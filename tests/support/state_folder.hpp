// StateFolder: a test's own state directory, with records of devices without servers.
//
// Sets SLUICE_STATE_DIR for as long as it lives: one at a time, in a test with one thread.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "daemon/state.hpp"

namespace sluice::test {

// The parts of a record that a test sets; the rest does not matter.
struct Named {
  uint32_t id = 0;
  std::string name = {};
  std::string frontend = "loop";
  std::string path = {};
  std::string at = {};
};

inline DeviceRecord record_of(const Named& named) {
  DeviceRecord record;
  record.id = named.id;
  record.name = named.name;
  record.frontend = named.frontend;
  record.path = named.path;
  record.at = named.at;
  record.spec = {.target = "null"};
  record.recovery = "none";
  record.pid = 1;
  record.pid_started = 1;  // not the process that has this number
  record.block_bytes = 512;
  record.queues = record.depth = 1;
  record.max_io_bytes = 4096;
  return record;
}

class StateFolder {
 public:
  StateFolder() {
    std::string name = "/tmp/sluice-state.XXXXXX";
    path_ = mkdtemp(name.data());
    setenv("SLUICE_STATE_DIR", path_.c_str(), 1);
  }
  StateFolder(const StateFolder&) = delete;
  StateFolder& operator=(const StateFolder&) = delete;
  ~StateFolder() {
    unsetenv("SLUICE_STATE_DIR");
    std::filesystem::remove_all(path_);
  }

  const std::filesystem::path& path() const { return path_; }

  void add(const Named& named) { add_record(record_of(named)); }

  void add_record(const DeviceRecord& record) {
    const auto written = write_record(record);
    ASSERT_TRUE(written.has_value()) << written.error().text;
  }

  void add_text(uint32_t id, const std::string& text) { std::ofstream(record_path(id)) << text; }

 private:
  std::filesystem::path path_;
};

}  // namespace sluice::test
