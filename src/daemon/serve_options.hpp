// ServeOptions: how a new device is to be served. A value.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "daemon/frontends.hpp"
#include "spec/spec.hpp"

namespace sluice {

class Companion;

struct ServeOptions {
  Spec spec{};            // its paths are absolute
  std::string name = {};  // of the device; empty: none
  bool read_only = false;
  bool force = false;  // also if loop devices of the kernel have the files open
  FrontendOptions frontend{};
  bool foreground = false;
  bool quiet = false;               // the user gets only warnings and errors
  std::chrono::nanoseconds wait{};  // for servers and files of the stack that are not there yet
  bool resume = false;              // in the foreground: recover or remove a dead server's device
  uint32_t poll_us = kUsualPollUs;  // see DeviceRecord
  uint32_t debug_mask = 0;          // kDebugRequests | kDebugDevice
  // In the foreground:
  std::vector<int> kept{};         // descriptors of the caller that the server keeps
  Companion* companion = nullptr;  // the device ends with it
};

inline constexpr uint32_t kDebugRequests = 1U << 0;  // every request, as it enters the stack
inline constexpr uint32_t kDebugDevice = 1U << 1;    // steps in the life of the device

}  // namespace sluice
