// ThinTarget: the user's commands, on the control reactor.
#include "target/thin/verbs.hpp"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "spec/shown.hpp"

#include "target/thin/thin_target.hpp"

namespace sluice::thin {

Task ThinTarget::control(Request& request, ControlCall& call) {
  const std::string& verb = call.verb.target;
  if (verb == kList) return list(request, call);
  return change_pool(request, call);
}

Task ThinTarget::change_pool(Request& request, ControlCall& call) {
  const std::string& verb = call.verb.target;
  uint64_t id = call.verb.number("id", 0);
  if (verb == kCreate || verb == kDelete) {
    const std::string text = call.verb.text("id");
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), id);
    const bool is_whole = parsed.ptr == text.data() + text.size();
    if (parsed.ec != std::errc() || !is_whole || id > persistent::kDeviceIdMost) {
      co_return call.fail(EINVAL, fmt::format("the id of a volume is a number up to {}, not {}",
                                              persistent::kDeviceIdMost, shown(text)));
    }
  }
  std::string why;
  const uint64_t origin = call.verb.number("origin", volume_.id());
  Task changing = verb == kCreate     ? pool_->create(request, id, why)
                  : verb == kSnapshot ? pool_->snapshot(request, id, origin, why)
                  : verb == kDelete   ? pool_->remove(request, id, why)
                  : verb == kReserve  ? pool_->take_metadata_snapshot(request, why)
                                      : pool_->release_metadata_snapshot(request, why);
  const Status changed = co_await changing;
  if (!changed.ok()) co_return call.fail(changed.error(), std::move(why));
  co_return kOk;
}

Task ThinTarget::list(Request& request, ControlCall& call) {
  std::vector<Pool::Entry> entries;
  std::string why;
  Task listing = pool_->list(request, entries, why);
  if (const Status listed = co_await listing; !listed.ok()) {
    co_return call.fail(listed.error(), std::move(why));
  }
  JsonValue volumes = JsonValue::array();
  for (const Pool::Entry& entry : entries) {
    volumes.push_back({{"id", entry.id},
                       {"mapped_bytes", entry.details.mapped_blocks * block_bytes_},
                       {"transaction_id", entry.details.transaction_id},
                       {"creation_time", entry.details.creation_time},
                       {"snapshotted_time", entry.details.snapshotted_time},
                       {"served", entry.is_served}});
  }
  call.answer.set("volumes", std::move(volumes));
  co_return kOk;
}

}  // namespace sluice::thin
