#include "daemon/event_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "daemon/clerk.hpp"
#include "daemon/state_lock.hpp"
#include "daemon/state_names.hpp"

namespace sluice {
namespace {

std::unexpected<Error> failed() { return fail(errno, std::strerror(errno)); }

// A file of another kind that has the name is removed: the name is ours.
Result<Descriptor> open_events(const StateDirectory& directory) {
  auto file = directory.open_file(kEventsName);
  if (!file && file.error().error == EBADMSG && directory.remove(kEventsName)) {
    file = directory.open_file(kEventsName);
  }
  if (file && fcntl(file->number(), F_SETFL, O_APPEND) != 0) return failed();
  return file;
}

bool is_full(const struct stat& status, size_t more) {
  return status.st_size > 0 && static_cast<size_t>(status.st_size) + more > kEventFileBytesMax;
}

// Does nothing if another process has renamed the file meanwhile.
Result<void> rotate(const StateDirectory& directory, size_t more) {
  const auto lock = StateLock::take();
  if (!lock) return std::unexpected(lock.error());
  struct stat status{};
  if (fstatat(directory.descriptor(), kEventsName, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
      !is_full(status, more)) {
    return {};
  }
  if (renameat(directory.descriptor(), kEventsName, directory.descriptor(), kOlderEventsName) == 0)
    return {};
  return failed();
}

// A writer that was killed, or found no space, may have left half a line.
bool ends_within_a_line(const Descriptor& file, off_t size) {
  char last = '\n';
  return size > 0 && pread(file.number(), &last, 1, size - 1) == 1 && last != '\n';
}

}  // namespace

Result<void> append_event(const DeviceEvent& event) {
  if (Clerk* const clerk = Clerk::in_charge()) return clerk->append_event(event);
  auto directory = StateDirectory::open();
  if (!directory) return std::unexpected(directory.error());
  std::string line = event_line(event);
  auto file = open_events(*directory);
  if (!file) return std::unexpected(file.error());
  struct stat status{};
  if (fstat(file->number(), &status) != 0) return failed();
  if (is_full(status, line.size())) {
    if (auto rotated = rotate(*directory, line.size()); !rotated) return rotated;
    file = open_events(*directory);
    if (!file) return std::unexpected(file.error());
    if (fstat(file->number(), &status) != 0) return failed();
  }
  if (ends_within_a_line(*file, status.st_size)) line.insert(0, 1, '\n');
  const ssize_t written = write(file->number(), line.data(), line.size());
  if (written < 0) return failed();
  if (static_cast<size_t>(written) != line.size()) return fail(ENOSPC, "it was not written whole");
  return {};
}

void record_event(const DeviceRecord& record, std::string_view kind, std::string_view text) {
  using namespace std::chrono;
  [[maybe_unused]] const auto appended =
      append_event({.time = floor<milliseconds>(system_clock::now()),
                    .id = record.id,
                    .name = record.name,
                    .kind = std::string(kind),
                    .text = std::string(text),
                    .target = {}});
}

}  // namespace sluice
