#include "daemon/event_reader.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <utility>

#include "daemon/state_names.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace {

constexpr int kAttempts = 5;  // to open both files between two renames

}  // namespace

Result<std::vector<DeviceEvent>> EventReader::read() {
  std::vector<DeviceEvent> events;
  if (before_) {
    before_->read_on(events);
    before_.reset();
  }
  if (current_) current_->read_on(events);
  const auto directory = StateDirectory::open();
  if (!directory && directory.error().error == ENOENT) return events;
  if (!directory) return std::unexpected(directory.error());
  auto done = begun_ ? follow(*directory, events) : begin(*directory, events);
  if (!done) return std::unexpected(done.error());
  return events;
}

// Opens the current file first: a rename between the two then misses no event, but opens the same
// file twice.
Result<void> EventReader::begin(const StateDirectory& directory, std::vector<DeviceEvent>& events) {
  for (int attempt = 1;; ++attempt) {
    auto current = open(directory, kEventsName);
    if (!current) return std::unexpected(current.error());
    auto older = open(directory, kOlderEventsName);
    if (!older) return std::unexpected(older.error());
    const bool renamed = *current && *older && (*current)->inode == (*older)->inode;
    if (renamed && attempt < kAttempts) continue;
    if (*older) (*older)->read_on(events);
    if (*current && !renamed) (*current)->read_on(events);
    current_ = renamed ? std::nullopt : std::move(*current);
    begun_ = true;
    return {};
  }
}

// The name may now belong to another file than the last call read.
Result<void> EventReader::follow(const StateDirectory& directory,
                                 std::vector<DeviceEvent>& events) {
  auto named = open(directory, kEventsName);
  if (!named) return std::unexpected(named.error());
  if (!*named || (current_ && current_->inode == (*named)->inode)) return {};
  before_ = std::exchange(current_, std::nullopt);
  if (before_) {
    before_->read_on(events);
    auto older = open(directory, kOlderEventsName);
    const bool is_unknown = older && *older && (*older)->inode != before_->inode;
    if (is_unknown) (*older)->read_on(events);
  }
  current_ = std::move(*named);
  current_->read_on(events);
  return {};
}

Result<std::optional<EventReader::Part>> EventReader::open(const StateDirectory& directory,
                                                           const char* name) {
  auto file = directory.open_to_read(name);
  if (!file && file.error().error == ENOENT) return std::nullopt;
  struct stat status{};
  if (!file || fstat(file->number(), &status) != 0) {
    const Error why = file ? Error{errno, "its size is unknown"} : file.error();
    return fail(why.error,
                fmt::format("cannot read the events in {}: {}",
                            shown(fmt::format("{}/{}", directory.path(), name)), why.text));
  }
  return Part{.file = std::move(*file), .inode = status.st_ino};
}

// An incomplete last line is kept for the next call.
void EventReader::Part::read_on(std::vector<DeviceEvent>& events) {
  std::array<char, 16384> bytes;
  while (true) {
    const ssize_t count = pread(file.number(), bytes.data(), bytes.size(), read_bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    read_bytes += count;
    for (DeviceEvent& event : lines.add({bytes.data(), static_cast<size_t>(count)})) {
      events.push_back(std::move(event));
    }
  }
}

}  // namespace sluice
