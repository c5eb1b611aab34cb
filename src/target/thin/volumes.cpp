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
    // Its mappings can be found.
    return live_->visit(volume.id(), 0, 1, [](uint64_t, persistent::Mapping) { return false; });
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
  Task creating = change_durably(request, step, why);
  co_return co_await creating;
}

Task Pool::change_durably(Request& request, Step step, std::string& why) {
  Error error;
  Task changing = live_.change(request, step, error);
  if (const Status status = co_await changing; !status.ok()) {
    why = std::move(error.text);
    co_return status;
  }
  Task committing = commit_change(request, why);
  co_return co_await committing;
}

// What they have changed is durable then.
Task Pool::commit_change(Request& request, std::string& why) {
  Task committing = live_.commit(request);
  const Status status = co_await committing;
  if (!status.ok()) {
    why = live_.reason();
    co_return status;
  }
  Task noting = note_ids(request);
  std::ignore = co_await noting;  // they are a list for users
  co_return kOk;
}

Task Pool::note_ids(Request& request) {
  std::vector<uint64_t> ids;
  const auto step = [&] {
    ids.clear();
    return live_->visit_devices([&](uint64_t id, const persistent::DeviceDetails&) {
      ids.push_back(id);
      return true;
    });
  };
  Error error;
  Task reading = live_.read(request, step, error);
  const Status status = co_await reading;
  const std::scoped_lock guard(ids_mutex_);
  if (status.ok()) ids_ = std::move(ids);
  co_return status;
}

std::vector<uint64_t> Pool::ids() const {
  const std::scoped_lock guard(ids_mutex_);
  return ids_;
}

Task Pool::compare(Request& request, uint64_t one, uint64_t other, uint64_t first,
                   std::vector<bool>& differs) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  std::vector<uint64_t> places(differs.size());  // of `one`; 0: not mapped
  const auto step = [&]() -> Result<void> {
    places.assign(differs.size(), 0);
    const auto note = [&](uint64_t block, persistent::Mapping mapping) {
      places[block - first] = mapping.data_block + 1;
      return true;
    };
    if (auto seen = live_->visit(one, first, first + places.size(), note); !seen) return seen;
    for (size_t i = 0; i < places.size(); ++i) differs[i] = places[i] != 0;
    const auto match = [&](uint64_t block, persistent::Mapping mapping) {
      differs[block - first] = places[block - first] != mapping.data_block + 1;
      return true;
    };
    return live_->visit(other, first, first + places.size(), match);
  };
  Error error;
  Task reading = live_.read(request, step, error);
  co_return co_await reading;
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
  persistent::ServedTransaction::Removal removal;
  const auto begin = [&] { return live_->begin_removal(id, removal); };
  Task removing = remove_steps(request, begin, removal, why);
  co_return co_await removing;
}

Task Pool::remove_steps(Request& request, Step begin,
                        persistent::ServedTransaction::Removal& removal, std::string& why) {
  Error error;
  Task beginning = live_.change(request, begin, error);
  Status status = co_await beginning;
  const auto step = [&] { return live_->continue_removal(removal); };
  while (status.ok() && !removal.is_done()) {
    Task removing = live_.change(request, step, error);
    status = co_await removing;
  }
  if (status.ok()) {
    Task ending = commit_change(request, why);
    co_return co_await ending;
  }
  why = std::move(error.text);
  Task reloading = live_.reload(request, error);
  if (const Status reloaded = co_await reloading; !reloaded.ok()) {
    co_return live_.stop_changes(fmt::format("after a failed removal: {}", error.text));
  }
  co_return status;
}

Task Pool::take_metadata_snapshot(Request& request, std::string& why) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  Task committing = commit_change(request, why);
  if (const Status status = co_await committing; !status.ok()) co_return status;
  const auto step = [&] { return live_->take_metadata_snapshot(); };
  Task taking = change_durably(request, step, why);
  co_return co_await taking;
}

Task Pool::release_metadata_snapshot(Request& request, std::string& why) {
  AsyncMutex::Hold hold(live_.mutex(), *request.ring);
  co_await hold;
  Task committing = commit_change(request, why);
  if (const Status status = co_await committing; !status.ok()) co_return status;
  persistent::ServedTransaction::Removal removal;
  const auto begin = [&] { return live_->begin_metadata_removal(removal); };
  Task removing = remove_steps(request, begin, removal, why);
  co_return co_await removing;
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
