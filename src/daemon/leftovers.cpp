#include "daemon/leftovers.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "daemon/process_life.hpp"
#include "daemon/socket_address.hpp"
#include "daemon/state_names.hpp"

namespace sluice {
namespace {

// No writer takes this long, so its file is removed even if its state is unknown.
constexpr time_t kLongestWriteSeconds = 3600;

bool is_old(const StateDirectory& directory, const std::string& name) {
  struct stat status{};
  return fstatat(directory.descriptor(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         status.st_mtime + kLongestWriteSeconds < time(nullptr);
}

// device-N.json.PID... or device-N.sock.PID...: to be renamed by that process.
bool is_half_made(std::string_view rest, ProcessMark& writer) {
  for (const std::string_view kind : {".json.", ".sock."}) {
    if (!rest.starts_with(kind)) continue;
    const auto mark = parse_mark_suffix(rest.substr(kind.size()));
    if (mark) writer = *mark;
    return mark.has_value();
  }
  return false;
}

// No record and no listener.
bool is_gone(const StateDirectory& directory, uint32_t id) {
  if (directory.contains(record_name(id))) return false;
  const int refused = try_to_connect(directory.path() + "/" + socket_name(id));
  return refused == ECONNREFUSED || refused == ENOENT;
}

}  // namespace

void clear_leftovers(const StateDirectory& directory) {
  for (const std::string& name : directory.names()) {
    const auto file = parse_device_file(name);
    if (!file) continue;
    ProcessMark writer;
    if (is_half_made(file->rest, writer)) {
      const Life life = life_of(writer);
      const bool abandoned =
          life == Life::dead || (life == Life::unknown && is_old(directory, name));
      if (abandoned) directory.remove(name);
      continue;
    }
    const auto beside = names_beside_record(file->id);
    if (std::ranges::find(beside, name) != beside.end() && is_gone(directory, file->id)) {
      directory.remove(name);
    }
  }
}

}  // namespace sluice
