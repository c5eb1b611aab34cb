// Qcow2Target: the verbs for internal snapshots.
#include <fmt/format.h>

#include "target/control_call.hpp"
#include "target/qcow2/bitmap_verbs.hpp"
#include "target/qcow2/chain_verbs.hpp"
#include "target/qcow2/qcow2_target.hpp"
#include "target/qcow2/snapshots.hpp"

namespace sluice::qcow2 {
namespace {

// As in `qemu-img info --output=json`.
JsonValue snapshot_json(const Snapshot& snapshot) {
  constexpr uint64_t kSecond = 1'000'000'000;
  JsonValue json = JsonValue::object();
  json.set("id", snapshot.id);
  json.set("name", snapshot.name);
  json.set("vm-state-size", snapshot.vm_state_bytes);
  json.set("date-sec", snapshot.date_seconds);
  json.set("date-nsec", snapshot.date_nanoseconds);
  json.set("vm-clock-sec", snapshot.vm_clock_nanoseconds / kSecond);
  json.set("vm-clock-nsec", snapshot.vm_clock_nanoseconds % kSecond);
  json.set("disk-size", snapshot.disk_bytes);
  return json;
}

}  // namespace

Task Qcow2Target::control(Request& request, ControlCall& call) {
  const std::string& verb = call.verb.target;
  if (verb == kExternalSnapshot || verb == kStream || verb == kCommit) {  // without a Chain above
    return call.fail(EOPNOTSUPP,
                     "its chain changes only while it is a file of its own, added for writing");
  }
  return is_bitmap_verb(verb) ? control_bitmaps(request, call) : control_snapshots(request, call);
}

Task Qcow2Target::control_snapshots(Request& request, ControlCall& call) {
  if (!image_.loaded()) return call.fail(ENOTCONN, "the image is not in service");
  if (call.verb.target == "snapshot-list") return list_snapshots(request, call);
  if (geometry_.read_only) {
    return call.fail(EROFS, "the image is read-only: add it for writing to change its snapshots");
  }
  if (image_.corrupt()) {
    return call.fail(EIO, "the image is corrupt: repair it with sluice check --repair all");
  }
  if (image_.header().has(kExternalData)) {
    return call.fail(ENOTSUP, "an image with an external data file cannot have snapshots");
  }
  if (call.verb.target == "snapshot-apply" && reactors_.load() > 1) {
    return call.fail(EBUSY,
                     "a snapshot is not applied to a disk in use, which would change beneath its"
                     " users: delete the device, and use sluice snapshot -a");
  }
  return change_snapshots(request, call);
}

Task Qcow2Target::list_snapshots(Request& request, ControlCall& call) {
  Snapshots snapshots(image_, call.deadline);
  Task reading = snapshots.read(request);
  if (const Status read = co_await reading; !read.ok())
    co_return call.fail(read.error(), snapshots.why());
  JsonValue list = JsonValue::array();
  for (const Snapshot& each : snapshots.list()) list.push_back(snapshot_json(each));
  call.answer.set("snapshots", std::move(list));
  co_return kOk;
}

// Between requests: all that came before are done, those that come wait.
Task Qcow2Target::change_snapshots(Request& request, ControlCall& call) {
  const std::string& verb = call.verb.target;
  const std::string name = call.verb.text("name");
  Snapshots snapshots(image_, call.deadline);
  {
    RangeLock::Hold all(ranges_, *request.ring, 0, UINT64_MAX / 2, RangeLock::Mode::exclusive);
    co_await all;
    Task changing = verb == "snapshot-create"   ? snapshots.create(request, name)
                    : verb == "snapshot-delete" ? snapshots.remove(request, name)
                                                : snapshots.apply(request, name);
    const Status changed = co_await changing;
    geometry_.size_bytes = image_.header().size_bytes;
    if (!changed.ok()) co_return call.fail(changed.error(), snapshots.why());
  }
  Task settling = snapshots.settle(request);
  std::ignore = co_await settling;
  call.answer = snapshot_json(snapshots.changed());
  co_return kOk;
}

}  // namespace sluice::qcow2
