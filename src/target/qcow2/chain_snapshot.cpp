// Chain: an external snapshot. The device goes on in a new image, whose backing file is the present
// one.
//
// The caller has made the new image, empty and durable. No request is in flight from the flush of
// the present image until the new one has been published, so that whenever the server dies, a
// recovery finds all that was flushed: with the old spec in the old image, to which nothing has
// been written since; with the new spec in both.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <tuple>
#include <utility>

#include "core/log.hpp"
#include "core/step.hpp"
#include "spec/shown.hpp"
#include "target/control_call.hpp"
#include "target/plain_request.hpp"
#include "target/qcow2/chain_commit.hpp"
#include "target/qcow2/storage_bytes.hpp"
#include "target/tree_lock.hpp"

namespace sluice::qcow2 {

Task Chain::take_snapshot(Request& request, ControlCall& call) {
  if (const Status allowed = check_snapshot(call); !allowed.ok()) co_return allowed;
  Header header;
  Task reading = read_overlay(request, call, header);
  if (const Status read = co_await reading; !read.ok()) co_return read;
  const Spec next = spec_in(call.verb.children.front().text("file"));
  std::string former = path_;
  {
    RangeLock::Hold all(gate_, *request.ring, 0, 1, RangeLock::Mode::exclusive);
    co_await all;
    step("snapshot begun");
    Task switching = switch_to(request, call, header, next);
    if (const Status switched = co_await switching; !switched.ok()) co_return switched;
  }
  log().info("{}: the device goes on in it, and only reads {} from now on", shown(path_),
             shown(former));
  call.answer.set("image", path_);
  call.answer.set("backing_file", std::move(former));
  co_return kOk;
}

Status Chain::check_snapshot(ControlCall& call) const {
  if (is_streaming_) {
    return call.fail(EBUSY, "the image is being streamed: wait for the end, or cancel it");
  }
  if (commit_->is_begun()) return commit_->refuse(call);
  if (const Status named = check_names(call); !named.ok()) return named;
  const Spec& overlay = call.verb.children.front();
  const bool is_file = overlay.target == "loop" && !overlay.has("offset") && !overlay.has("size");
  if (!is_file) return call.fail(EINVAL, "the new image must be a file: give its path");
  const Target& storage = *call.children.front();
  if (takes(storage)) return kOk;
  return call.fail(EINVAL, fmt::format("{} is on storage with larger blocks than those of the "
                                       "device, or cannot be written: choose another directory",
                                       storage.name()));
}

// The device is to go on in another image.
Status Chain::check_names(ControlCall& call) const {
  for (const char* const option : {"backing_format", "data_file"}) {
    if (!spec_.has(option)) continue;
    return call.fail(EINVAL, fmt::format("the device was added with {}, which says what {} does not"
                                         " record: record it there, and add the device without",
                                         option, shown(path_)));
  }
  return kOk;
}

// The device has its block size and its mode already.
bool Chain::takes(const Target& storage) const {
  const Geometry& has = storage.geometry();
  return has.logical_block_bytes <= geometry_.logical_block_bytes &&
         has.memory_alignment_bytes <= geometry_.memory_alignment_bytes && !has.needs_bytes &&
         !has.read_only;
}

// Of the image that the verb brings.
Task Chain::read_header(Request& request, ControlCall& call, Header& header) {
  Target& storage = *call.children.front();
  StorageBytes bytes(storage);
  std::vector<std::byte> start(512);
  Task reading = bytes.read(request, 0, start);
  Status status = co_await reading;
  auto needed = header_bytes_needed(start);
  if (status.ok() && needed) {
    start.resize(std::max<uint64_t>(*needed, 512));
    Task reading_all = bytes.read(request, 0, start);
    status = co_await reading_all;
  }
  if (!status.ok()) {
    co_return call.fail(status.error(), fmt::format("cannot read {}", storage.name()));
  }
  auto parsed = needed ? parse_header(start, bytes.exact_size())
                       : Result<Header>(std::unexpected(needed.error()));
  if (!parsed) co_return call.fail(parsed.error().error, parsed.error().text);
  header = std::move(*parsed);
  co_return kOk;
}

Task Chain::read_overlay(Request& request, ControlCall& call, Header& header) {
  Task reading = read_header(request, call, header);
  if (const Status read = co_await reading; !read.ok()) co_return read;
  if (const Status checked = check_overlay(header, call); !checked.ok()) co_return checked;
  StorageBytes bytes(*call.children.front());
  std::vector<std::byte> l1(header.l1_entries * sizeof(uint64_t));
  Task reading_l1 = bytes.read(request, header.l1_offset, l1);
  if (const Status read = co_await reading_l1; !read.ok()) {
    co_return call.fail(read.error(), "cannot read the L1 table of the new image");
  }
  const bool is_empty = std::ranges::all_of(l1, [](std::byte each) { return each == std::byte{}; });
  if (!is_empty) co_return call.fail(EINVAL, "the new image is not empty: make another one");
  co_return kOk;
}

Status Chain::check_overlay(const Header& header, ControlCall& call) const {
  const uint64_t size = active().geometry().size_bytes;
  if (header.size_bytes != size) {
    return call.fail(EINVAL, fmt::format("the new image has a disk of {} bytes, and the device has "
                                         "{}: try again",
                                         uint64_t{header.size_bytes}, size));
  }
  const bool fits = !header.backing_name.empty() && header.backing_format == "qcow2" &&
                    header.snapshots == 0 && !header.encryption &&
                    !header.has(kDirty | kCorrupt | kExternalData);
  if (fits) return kOk;
  return call.fail(EINVAL,
                   "the new image must be a fresh one that has the present one as its backing file,"
                   " of format qcow2");
}

// With no request in flight.
Task Chain::switch_to(Request& request, ControlCall& call, const Header& header, const Spec& next) {
  Request flush = plain(request, Op::flush);
  Task flushing = active().submit(flush);
  if (const Status flushed = co_await flushing; !flushed.ok()) {
    co_return call.fail(flushed.error(), fmt::format("{} cannot be flushed: the device goes on in "
                                                     "it as before",
                                                     shown(path_)));
  }
  Qcow2Target& former = active();
  put_above(std::move(call.children.front()), header, next.text("file"));
  step("overlay put above");
  LifeCall life{.deadline = call.deadline, .jobs = jobs_, .control = reactor_};
  Task starting = active().start(request, life);
  Status status = co_await starting;
  if (!status.ok()) {
    call.why = std::move(life.why);
  } else {
    status = call.publish(next);
    if (!status.ok()) {
      Task stopping = active().stop(request, life);
      std::ignore = co_await stopping;
    }
  }
  if (!status.ok()) {
    remove_top();
    co_return status;
  }
  life_.add_started(active());
  go_on_in(next);
  step("overlay published");
  Task freezing = former.freeze(request);
  std::ignore = co_await freezing;  // it logs its errors
  Task registering = rings_.register_files(request, registered_files_of(active().child(0)));
  co_return co_await registering;
}

// The active image is another one.
void Chain::go_on_in(const Spec& own) {
  spec_ = own;
  path_ = own.text("file");
  const std::scoped_lock guard(tree_lock());
  set_name(
      fmt::format("qcow2({})", printable(std::filesystem::path(path_).filename().string(), 64)));
}

// Of an image that is written.
Image::Options Chain::options_for(const std::string& path) const {
  return {.name = path,
          .writable = true,
          .cache_bytes = spec_.number("cache", kCacheBytes),
          .compress = spec_.flag("compress"),
          .outlives_server = active().outlives_server()};
}

void Chain::put_above(std::unique_ptr<Target> storage, const Header& header,
                      const std::string& path) {
  const std::string name = std::filesystem::path(path).filename();
  const std::scoped_lock guard(tree_lock());
  std::unique_ptr<Target>& top = changing_children().front();
  const Qcow2Target& former = active();
  auto above = std::make_unique<Qcow2Target>(
      options_for(path), header,
      Qcow2Target::Parts{.storage = std::move(storage), .data = {}, .backing = std::move(top)});
  above->join_reactors_of(former);
  above->set_name(fmt::format("image({})", printable(name, 64)));
  top = std::move(above);
}

void Chain::remove_top() {
  std::unique_ptr<Target> removed;
  const std::scoped_lock guard(tree_lock());
  std::unique_ptr<Target>& top = changing_children().front();
  removed = std::exchange(top, active().take_backing());
}

}  // namespace sluice::qcow2
