// Image: changes of its place in a chain of images.
#include <algorithm>

#include "core/log.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/backing_name.hpp"
#include "target/qcow2/image.hpp"
#include "target/qcow2/storage_bytes.hpp"

namespace sluice::qcow2 {

// The cache has nothing newer of the first cluster than the disk: the caller has flushed it.
Task Image::forget_backing(Request& request) {
  std::vector<std::byte> start(std::max<uint64_t>(header_.cluster_bytes(), 512));
  StorageBytes bytes(storage_);
  Task reading = bytes.read(request, 0, start);
  if (const Status read = co_await reading; !read.ok()) co_return read;
  const auto writes = plan_backing(start, "", "");
  if (!writes) {
    log().error("{}: {}", shown(options_.name), writes.error().text);
    co_return Status::from_errno(writes.error().error);
  }
  WritePin header;
  Task taking = cache_->write(request, 0, header);
  if (const Status taken = co_await taking; !taken.ok()) co_return taken;
  for (const HeaderWrite& write : *writes) {
    std::ranges::copy(write.bytes, header.bytes().begin() + static_cast<ptrdiff_t>(write.place));
  }
  const BlockVersion changed = header.publish();
  Task waiting = cache_->make_durable(request, changed);
  const Status durable = co_await waiting;
  if (durable.ok()) header_.backing_name.clear();
  co_return durable;
}

Task Image::freeze(Request& request) {
  Status done;
  if (clusters_ != nullptr) {
    Task settling = settle(request);
    done = co_await settling;
  }
  bitmap_store_.end();
  switched_ = {};
  options_.writable = false;
  clusters_.reset();
  counted_.reset();
  metadata_.reset();
  co_return done;
}

Task Image::reload(Request& request) {
  {
    const std::lock_guard guard(opening_);
    cache_.reset();
  }
  LifeCall call;
  Task loading = load(request, call);
  co_return co_await loading;
}

}  // namespace sluice::qcow2
