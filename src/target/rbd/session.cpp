#include "target/rbd/session.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/thread.hpp"

namespace sluice::rbd {
namespace {

// The library tells of changes; a lost lock it does not tell.
constexpr std::chrono::seconds kLookEvery{5};

}  // namespace

Result<std::unique_ptr<Session>> Session::open(const Library& library, Image::Files files,
                                               Image::Access access, std::shared_ptr<State> state) {
  auto image = Image::open(library, state->options, files, access);
  if (!image) return std::unexpected(image.error());
  std::unique_ptr<Session> session(new Session(std::move(*image), access, std::move(state)));
  if (auto begun = session->begin(); !begun) return std::unexpected(begun.error());
  return session;
}

Result<void> Session::begin() {
  served_bytes_ = image_->facts().size_bytes;
  auto offload = Offload::create(1);
  if (!offload) return std::unexpected(offload.error());
  offload_ = std::move(*offload);
  auto thread = start_thread("sluice-rbd", [this] { keep_looking(); });
  if (!thread) return std::unexpected(thread.error());
  thread_ = std::move(*thread);
  return image_->watch([](void* session) { static_cast<Session*>(session)->wake(); }, this);
}

Session::~Session() {
  image_->end_watch();  // no notice comes any more
  {
    const std::scoped_lock guard(mutex_);
    over_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Session::serve(uint64_t bytes) {
  {
    const std::scoped_lock guard(mutex_);
    served_bytes_ = bytes;
  }
  wake();
}

void Session::wake() {
  const std::scoped_lock guard(mutex_);
  has_news_ = true;
  changed_.notify_all();
}

void Session::keep_looking() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kLookEvery, [this] { return has_news_ || over_; });
      if (over_) return;
      has_news_ = false;
    }
    [[maybe_unused]] const Status looked = look();
  }
}

Status Session::look() {
  const auto size = image_->size();
  if (!size) return judge(size.error());
  if (access_ == Image::Access::exclusive) {
    const auto has_lock = image_->has_lock();
    if (!has_lock) return judge(has_lock.error());
    if (!*has_lock) {
      state_->fail("the exclusive lock of the image is lost: add the device again");
      return Status::from_errno(ESHUTDOWN);
    }
  }
  const std::scoped_lock guard(mutex_);
  state_->set_size(*size, served_bytes_);
  return kOk;
}

Status Session::judge(const Error& error) {
  if (error.error == ESHUTDOWN) {
    state_->fail("the cluster has shut this client out (blocklisted): add the device again");
  }
  return Status::from_errno(error.error);
}

}  // namespace sluice::rbd
