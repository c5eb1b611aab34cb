// Chain: the backing file of the active image becomes one that is written, and back.
#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <mutex>
#include <system_error>
#include <tuple>
#include <utility>

#include "core/step.hpp"
#include "spec/shown.hpp"
#include "target/file/file_lock.hpp"
#include "target/qcow2/chain_commit.hpp"
#include "target/tree_lock.hpp"

namespace sluice::qcow2 {
namespace {

// Of a file that is opened for a target, which has no other.
int descriptor_of(const Target& storage) {
  const auto files = registered_files_of(storage);
  return files.empty() ? -1 : files.front().descriptor;
}

bool is_same_file(int one, int other) {
  struct stat first{};
  struct stat second{};
  return fstat(one, &first) == 0 && fstat(other, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// What a file has behind its last whole block would be seen after growth.
bool ends_within_block(int descriptor) {
  struct stat status{};
  return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size % 512 != 0;
}

}  // namespace

Qcow2Target* Chain::Commit::base_image() const { return dynamic_cast<Qcow2Target*>(&base()); }

// --- Checks

Status Chain::Commit::check(ControlCall& call) const {
  const Qcow2Target& image = chain_.active();
  const std::string path = shown(chain_.path_);
  if (chain_.is_streaming_) {
    return call.fail(EBUSY, "the image is being streamed: wait for the end, or cancel it");
  }
  if (image.backing() == nullptr) {
    return call.fail(EINVAL,
                     fmt::format("{} has no backing file: there is nothing to commit to", path));
  }
  if (image.header().has(kExternalData)) {
    return call.fail(ENOTSUP, fmt::format("{} has its data in another file, and cannot be emptied:"
                                          " delete the device, and use sluice commit -d",
                                          path));
  }
  if (image.header().snapshots != 0) {
    return call.fail(EBUSY, fmt::format("{} has internal snapshots, which need its backing file as"
                                        " it is: delete them first",
                                        path));
  }
  if (call.children.empty()) {
    return call.fail(EINVAL, "the verb brings the backing file, opened for writing");
  }
  return check_base(call);
}

Status Chain::Commit::check_base(ControlCall& call) const {
  const uint64_t size = chain_.geometry_.size_bytes;
  const uint64_t base_size = base().geometry().size_bytes;
  const Qcow2Target* const below = base_image();
  const Target& storage = below == nullptr ? base() : below->child(0);
  const Target& brought = *call.children.front();
  const std::string path = shown(call.verb.children.front().text("file"));
  if (!is_same_file(descriptor_of(storage), descriptor_of(brought))) {
    return call.fail(ESTALE, fmt::format("{} is not the backing file that the device has opened:"
                                         " it was renamed or replaced",
                                         path));
  }
  if (!chain_.takes(brought)) {
    return call.fail(EINVAL, fmt::format("{} cannot be written in the blocks of the device: delete"
                                         " the device, and use sluice commit",
                                         path));
  }
  if (below == nullptr) {
    if (base_size >= size || !ends_within_block(descriptor_of(brought))) return kOk;
    return call.fail(EINVAL, fmt::format("{} must grow, and its size is no multiple of 512: delete"
                                         " the device, and use sluice commit",
                                         path));
  }
  if (below->header().has(kExternalData)) {
    return call.fail(ENOTSUP, fmt::format("{} has its data in another file: delete the device, and"
                                          " use sluice commit",
                                          path));
  }
  if (base_size > size) {
    return call.fail(EINVAL, fmt::format("{} has a disk of {} bytes, and the device has {}, and"
                                         " must not change its size: grow it first with sluice"
                                         " resize",
                                         path, base_size, size));
  }
  return check_pivot(call);
}

// What the active image has that would be lost with it.
Status Chain::Commit::check_pivot(ControlCall& call) const {
  if (chain_.active().has_bitmaps()) {
    return call.fail(EBUSY, fmt::format("{} has dirty bitmaps, which the device would lose: remove"
                                        " them first with bitmap-remove",
                                        shown(chain_.path_)));
  }
  return chain_.check_names(call);
}

// --- Begin

Task Chain::Commit::open_base(Request& request, ControlCall& call) {
  const Qcow2Target* const below = base_image();
  const int had = descriptor_of(below == nullptr ? base() : below->child(0));
  const int brought = descriptor_of(*call.children.front());
  base_path_ = call.verb.children.front().text("file");
  if (auto locked = move_lock_for_writing(had, brought, base_path_); !locked) {
    co_return call.fail(locked.error().error,
                        fmt::format("{} is in use elsewhere, here or in a QEMU program: detach it"
                                    " there first",
                                    shown(base_path_)));
  }
  std::unique_ptr<Target> next;
  Task making = make_base(request, call, next);
  if (const Status made = co_await making; !made.ok()) {
    move_lock_for_reading(brought, had);
    co_return made;
  }
  sluice::step("base made");
  Task exchanging = exchange_base(request, std::move(next));
  std::ignore = co_await exchanging;
  sluice::step("base opened");
  Task growing = grow_base(request, call);
  const Status grown = co_await growing;
  if (!grown.ok()) {
    Task closing = close_base(request);
    std::ignore = co_await closing;
  }
  co_return grown;
}

// Without its own backing file, which the present target still has.
Task Chain::Commit::make_base(Request& request, ControlCall& call, std::unique_ptr<Target>& made) {
  const Qcow2Target* const below = base_image();
  if (below == nullptr) {
    made = std::move(call.children.front());
    made->set_name(base().name());
    co_return kOk;
  }
  Header header;
  Task reading = chain_.read_header(request, call, header);
  if (const Status read = co_await reading; !read.ok()) co_return read;
  auto image =
      std::make_unique<Qcow2Target>(chain_.options_for(base_path_), header,
                                    Qcow2Target::Parts{.storage = std::move(call.children.front()),
                                                       .data = {},
                                                       .backing = {},
                                                       .data_path = base_path_});
  image->set_name(below->name());
  LifeCall life{.deadline = call.deadline, .jobs = chain_.jobs_, .control = chain_.reactor_};
  Task starting = image->start(request, life);
  const Status started = co_await starting;
  if (!started.ok()) call.why = std::move(life.why);
  image->join_reactors_of(*below);
  made = std::move(image);
  co_return started;
}

Task Chain::Commit::exchange_base(Request& request, std::unique_ptr<Target> next) {
  Qcow2Target& active = chain_.active();
  Qcow2Target* const former = base_image();
  std::unique_ptr<Target> left;
  {
    RangeLock::Hold all(chain_.gate_, *request.ring, 0, 1, RangeLock::Mode::exclusive);
    co_await all;
    const std::scoped_lock guard(tree_lock());
    if (former != nullptr) {
      chain_.life_.replace_started(*former, *next);
      auto& image = static_cast<Qcow2Target&>(*next);
      if (former->backing() != nullptr) image.put_backing(former->take_backing());
    }
    left = active.take_backing();
    active.put_backing(std::move(next));
  }
  const Qcow2Target* const image = base_image();
  const Target& storage = image == nullptr ? base() : image->child(0);
  Task registering = chain_.rings_.register_files(request, registered_files_of(storage));
  std::ignore = co_await registering;
  Task forgetting = chain_.rings_.forget_files(request, registered_files_of(*left));
  std::ignore = co_await forgetting;
  if (former == nullptr) co_return kOk;
  LifeCall life;
  Task stopping = left->stop(request, life);
  co_return co_await stopping;
}

// What a disk gets at its end reads as zeroes, as it did in the image above it.
Task Chain::Commit::grow_base(Request& request, ControlCall& call) {
  const uint64_t size = chain_.geometry_.size_bytes;
  if (base().geometry().size_bytes >= size) co_return kOk;
  Qcow2Target* const image = base_image();
  if (image == nullptr) {
    const auto grown = base().resize(size);
    co_return grown ? kOk : call.fail(grown.error().error, grown.error().text);
  }
  Task growing = image->grow_here(request, size);
  const Status grown = co_await growing;
  if (grown.ok()) co_return kOk;
  co_return call.fail(grown.error(),
                      fmt::format("{} cannot grow to {} bytes: {}", shown(base_path_), size,
                                  std::generic_category().message(grown.error())));
}

// --- End

// Nobody writes it from now on, and others may read it.
Task Chain::Commit::close_base(Request& request) {
  RangeLock::Hold all(chain_.gate_, *request.ring, 0, 1, RangeLock::Mode::exclusive);
  co_await all;
  if (Qcow2Target* const image = base_image(); image != nullptr) {
    Task freezing = image->freeze(request);
    std::ignore = co_await freezing;  // it logs its errors
  } else {
    lock_for_reading_only(descriptor_of(base()));
  }
  begun_ = false;  // other changes may come
  co_return kOk;
}

}  // namespace sluice::qcow2
