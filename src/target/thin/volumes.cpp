// Pool: its volumes.
#include <fmt/format.h>

#include <utility>

#include "ring/ring.hpp"
#include "target/thin/pool.hpp"

namespace sluice::thin {

Volume* Pool::served(uint64_t id) const {
  const auto found = volumes_.find(id);
  return found == volumes_.end() ? nullptr : found->second;
}

Task Pool::note_snapshot_time(Request& request, Volume& volume, Error& error) {
  uint32_t time = 0;
  const auto step = [&]() -> Result<void> {
    const auto details = live_->details(volume.id());
    if (!details) return std::unexpected(details.error());
    time = details->snapshotted_time;
    return {};
  };
  Task reading = live_.read(request, step, error);
  const Status status = co_await reading;
  if (status.ok()) volume.set_snapshotted_time(time);
  co_return status;
}

Task Pool::create(Request& request, uint64_t id, std::string& why) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  const auto step = [&] { return live_->create_device(id); };
  Error error;
  Task creating = live_.change(request, step, error);
  if (const Status status = co_await creating; !status.ok()) {
    why = std::move(error.text);
    co_return status;
  }
  Task committing = commit_change(request, why);
  co_return co_await committing;
}

Task Pool::commit_change(Request& request, std::string& why) {
  Task committing = live_.commit(request);
  const Status status = co_await committing;
  if (!status.ok()) why = live_.reason();
  co_return status;
}

Task Pool::snapshot(Request& request, uint64_t id, uint64_t origin, std::string& why) {
  Volume* volume = nullptr;
  {
    AsyncMutex::Hold hold(live_.mutex(), *request.ring);
    co_await hold;
    volume = served(origin);
  }
  if (volume == nullptr) {
    Task taking = take_snapshot(request, id, origin, nullptr, why);
    co_return co_await taking;
  }
  // Requests in flight end before it, later ones begin after it (T6.11).
  RangeLock::Hold all(volume->ranges(), *request.ring, 0, UINT64_MAX, RangeLock::Mode::exclusive);
  co_await all;
  Task taking = take_snapshot(request, id, origin, volume, why);
  co_return co_await taking;
}

Task Pool::take_snapshot(Request& request, uint64_t id, uint64_t origin, Volume* volume,
                         std::string& why) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  const auto step = [&] { return live_->create_snapshot(id, origin); };
  Error error;
  Task taking = live_.change(request, step, error);
  if (const Status status = co_await taking; !status.ok()) {
    why = std::move(error.text);
    co_return status;
  }
  if (volume != nullptr) {
    Task noting = note_snapshot_time(request, *volume, error);
    if (const Status status = co_await noting; !status.ok()) {
      // What is shared now is not known.
      why = error.text;
      co_return live_.stop_changes(fmt::format("after a snapshot: {}", error.text));
    }
  }
  Task committing = commit_change(request, why);
  co_return co_await committing;
}

// What was changed before is committed first: if something fails half way, nothing but the removal
// is undone.
Task Pool::remove(Request& request, uint64_t id, std::string& why) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  if (served(id) != nullptr) {
    why = fmt::format("volume {} is served: stop its device first", id);
    co_return Status::from_errno(EBUSY);
  }
  Task committing = commit_change(request, why);
  if (const Status status = co_await committing; !status.ok()) co_return status;
  Error error;
  Task removing = remove_steps(request, id, error);
  const Status removed = co_await removing;
  if (removed.ok()) {
    Task ending = commit_change(request, why);
    co_return co_await ending;
  }
  why = std::move(error.text);
  Task reloading = live_.reload(request, error);
  if (const Status reloaded = co_await reloading; !reloaded.ok()) {
    co_return live_.stop_changes(fmt::format("after a failed removal: {}", error.text));
  }
  co_return removed;
}

Task Pool::remove_steps(Request& request, uint64_t id, Error& error) {
  std::vector<uint64_t> left;
  const auto begin = [&] { return live_->begin_removal(id, left); };
  Task beginning = live_.change(request, begin, error);
  if (const Status status = co_await beginning; !status.ok()) co_return status;
  const auto step = [&] { return live_->continue_removal(left); };
  while (!left.empty()) {
    Task removing = live_.change(request, step, error);
    if (const Status status = co_await removing; !status.ok()) co_return status;
  }
  co_return kOk;
}

Task Pool::list(Request& request, std::vector<Entry>& entries, std::string& why) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  const auto step = [&] {
    entries.clear();
    return live_->visit_devices([&](uint64_t id, const persistent::DeviceDetails& details) {
      entries.push_back({.id = id, .details = details, .is_served = served(id) != nullptr});
      return true;
    });
  };
  Error error;
  Task reading = live_.read(request, step, error);
  const Status status = co_await reading;
  if (!status.ok()) why = std::move(error.text);
  co_return status;
}

}  // namespace sluice::thin
