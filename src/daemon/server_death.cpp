#include "daemon/server_death.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "daemon/event_file.hpp"
#include "daemon/state_names.hpp"

namespace sluice {
namespace {

// False: the end is known already, or cannot be recorded.
bool claim_end(const DeviceRecord& record) {
  const auto directory = StateDirectory::open();
  if (!directory) return false;
  const std::string name = end_name(record.id);
  const std::string server =
      fmt::format("{}.{}.{}", record.pid, record.pid_started, record.pid_scope);
  const auto make = [&] {
    return symlinkat(server.c_str(), directory->descriptor(), name.c_str()) == 0;
  };
  if (make()) return true;
  if (errno != EEXIST) return false;
  std::array<char, 512> bytes{};
  const ssize_t length =
      readlinkat(directory->descriptor(), name.c_str(), bytes.data(), bytes.size());
  const bool same =
      length > 0 && std::string_view(bytes.data(), static_cast<size_t>(length)) == server;
  return !same && directory->remove(name) && make();  // of an earlier server of this number
}

}  // namespace

void note_server_death(const DeviceRecord& record) {
  const Life life = server_life(record);
  if (life != Life::dead && life != Life::ending) return;
  const auto now = read_record(record.id);
  if (!now || !is_same_server(*now, record)) return;
  if (!claim_end(record)) return;
  record_event(record, kServerDied, fmt::format("its server, process {}, has died", record.pid));
}

void expect_server_end(const DeviceRecord& record) {
  [[maybe_unused]] const bool is_new = claim_end(record);
}

void forget_server_end(uint32_t id) {
  if (const auto directory = StateDirectory::open()) directory->remove(end_name(id));
}

}  // namespace sluice
