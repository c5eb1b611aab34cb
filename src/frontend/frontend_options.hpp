// FrontendOptions: how a device is to be served: the options of every front end, and those that
// only the chosen front end understands. A value of the control path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/named_values.hpp"

namespace sluice {

struct FrontendType;

inline constexpr uint32_t kAnyId = UINT32_MAX;  // the lowest free number
// The limits of all front ends.
inline constexpr uint16_t kQueuesMax = 4096;
inline constexpr uint16_t kQueueDepthMax = 4096;
inline constexpr uint32_t kIoBytesMax = 32U << 20;

// The fate of requests in flight, and of new ones, when the server dies.
enum class Recovery : uint8_t {
  none,     // the device goes away
  wait,     // new requests wait for the next server; those in flight fail
  reissue,  // new ones wait; those in flight are given to the next server once more
  fail_io,  // all fail until the next server is there
};

constexpr std::string_view to_string(Recovery recovery) {
  constexpr std::string_view kNames[] = {"none", "wait", "reissue", "fail_io"};
  return kNames[static_cast<size_t>(recovery)];
}

struct FrontendOptions {
  const FrontendType* type = nullptr;  // null: not chosen, see choose_frontend()
  uint32_t id = kAnyId;
  uint16_t queues = 1;
  uint16_t depth = 128;
  uint32_t max_io_bytes = 512 * 1024;  // a multiple of 4096
  // Per queue; nullopt: the default of the mode.
  std::optional<uint32_t> reserve_bytes{};
  std::string mode{};  // how bytes reach the server; empty: the best possible mode
  Recovery recovery = Recovery::none;
  bool unprivileged = false;
  std::string user{};  // whose rights the server has while it serves; empty: its own
  NamedValues own{};   // see FrontendType::options
  // In place of the option FrontendOption::Kind::listeners, at most one of these:
  std::vector<int> sockets{};   // listening, passed by another process; the front end takes them
  bool private_socket = false;  // in a place that only those know who are told the path
};

}  // namespace sluice
