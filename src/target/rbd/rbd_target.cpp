#include "target/rbd/rbd_target.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/keep_for_ever.hpp"
#include "core/log.hpp"
#include "spec/shown.hpp"
#include "target/rbd/aside.hpp"

namespace sluice::rbd {
namespace {

using namespace std::chrono_literals;
using Clock = LifeCall::Clock;

constexpr uint32_t kBlockBytes = 512;
constexpr uint32_t kPhysicalBytes = 4096;
constexpr uint32_t kRequestMax = 32 << 20;
constexpr uint64_t kRangeMax = uint64_t{256} << 20;      // of one discard: one call for each object
constexpr uint32_t kDiscardGranularityBytes = 64 << 10;  // rbd_discard_granularity_bytes
constexpr uint64_t kScannedMax = uint64_t{1} << 30;      // where each object is asked for
constexpr uint32_t kBuffers = 32;
constexpr uint32_t kControlBuffers = 4;  // of the control reactor, which has few requests

constexpr std::chrono::milliseconds kMargin{500};  // of a call of the target's life
constexpr std::chrono::seconds kLastTimeout = 3s;  // of requests when the device ends
constexpr std::chrono::seconds kLastWait = 10s;    // for the closing of the image, likewise
constexpr std::chrono::seconds kGrowTime = 30s;

}  // namespace

// What a thread opens. Nobody may be waiting for it any more.
struct RbdTarget::Opening {
  std::mutex mutex;
  bool is_done = false;
  bool is_given_up = false;
  Result<void> result{};
  Image::Facts facts{};
  std::unique_ptr<Session> session{};

  void finish(Result<std::unique_ptr<Session>> opened) {
    std::unique_ptr<Session> unwanted;  // closed without the lock
    const std::scoped_lock guard(mutex);
    is_done = true;
    if (!opened) {
      result = std::unexpected(opened.error());
      return;
    }
    facts = (*opened)->image().facts();
    (is_given_up ? unwanted : session) = std::move(*opened);
  }
};

RbdTarget::RbdTarget(const Library& library, Options options, Image::Files files)
    : library_(library),
      files_(files),
      state_(std::make_shared<State>(std::move(options))),
      errors_(fmt::format("rbd:{}", state_->options.name.text())) {}

std::string RbdTarget::swap_risk() const {
  if (!pools_resident_) return "rbd: its buffers may not be in memory";
  return "rbd: a write to the cluster needs memory for the network, and waits for other programs";
}

Image::Access RbdTarget::access() const {
  const Options& options = state_->options;
  if (options.read_only || !options.name.snapshot.empty()) return Image::Access::read;
  return options.exclusive ? Image::Access::exclusive : Image::Access::shared;
}

// --- Life.

Task RbdTarget::start(Request& request, LifeCall& call) {
  control_ring_ = request.ring;
  state_->set_name(name());
  const auto opening = std::make_shared<Opening>();
  const auto wanted = call.purpose == LifeCall::Purpose::look ? Image::Access::read : access();
  auto aside = Aside::start("sluice-open",
                            [&library = library_, files = files_, wanted, state = state_, opening] {
                              opening->finish(Session::open(library, files, wanted, state));
                            });
  if (!aside) co_return call.fail(aside.error().error, aside.error().text);
  Task waiting = (*aside)->wait(request, call.deadline - kMargin);
  [[maybe_unused]] const Status waited = co_await waiting;
  const std::scoped_lock guard(opening->mutex);
  if (!opening->is_done) {
    opening->is_given_up = true;
    co_return call.fail(ETIMEDOUT,
                        fmt::format("rbd: {} could not be opened in time; a client that has died "
                                    "keeps its lock for half a minute: try again",
                                    shown(state_->options.name.text())));
  }
  if (!opening->result) {
    co_return call.fail(opening->result.error().error, opening->result.error().text);
  }
  if (auto accepted = accept(opening->facts); !accepted) {
    // Nothing waits for the end of the session but the thread that ends it.
    close_aside(std::move(opening->session));
    co_return call.fail(accepted.error().error, accepted.error().text);
  }
  session_ = std::move(opening->session);
  state_->begin(opening->facts.size_bytes);
  session_->serve(geometry_.size_bytes);
  co_return kOk;
}

// The first facts are the promise.
Result<void> RbdTarget::accept(const Image::Facts& facts) {
  const std::string name = shown(state_->options.name.text());
  const uint64_t bytes = facts.size_bytes / kBlockBytes * kBlockBytes;
  if (bytes == 0) return sluice::fail(EINVAL, fmt::format("rbd: {} is empty", name));
  if (is_promised_) {
    if (facts.id != id_) {
      return sluice::fail(ESTALE, fmt::format("rbd: {} is another image now", name));
    }
    geometry_.size_bytes = std::min<uint64_t>(geometry_.size_bytes, bytes);
    return {};
  }
  if (bytes != facts.size_bytes) {
    log().warn("rbd: {}: its last {} bytes are left out", name, facts.size_bytes - bytes);
  }
  is_promised_ = true;
  id_ = facts.id;
  geometry_.size_bytes = bytes;
  geometry_.logical_block_bytes = kBlockBytes;
  geometry_.physical_block_bytes = kPhysicalBytes;
  geometry_.io_opt_bytes = static_cast<uint32_t>(facts.object_bytes);
  geometry_.max_io_bytes = kRequestMax;
  geometry_.max_discard_bytes = kRangeMax;
  geometry_.discard_granularity_bytes = kDiscardGranularityBytes;
  geometry_.can_discard = true;
  geometry_.can_write_zeroes = true;
  geometry_.can_fua = true;  // what the cluster has answered is durable
  geometry_.volatile_cache = true;
  geometry_.read_only = access() == Image::Access::read;
  geometry_.needs_bytes = true;
  return {};
}

Task RbdTarget::attach(Request& request, LifeCall& call) {
  auto here = std::make_unique<OnRing>(*request.ring);
  const uint32_t buffers = request.ring == control_ring_ ? kControlBuffers : kBuffers;
  auto pool = BufferPool::create(*request.ring, kPieceBytes, buffers);
  if (!pool) return call.fail(pool.error().error, pool.error().text);
  here->pool = std::move(*pool);
  auto reserve = here->pool->reserve(buffers);
  if (!reserve) return call.fail(reserve.error().error, reserve.error().text);
  here->buffers = std::move(*reserve);
  if (!here->pool->risk().empty()) pools_resident_ = false;
  on_ring_.put(*request.ring, std::move(here));
  return kOk;
}

Task RbdTarget::detach(Request& request, LifeCall&) {
  OnRing* const here = on_ring_.of(*request.ring);
  if (here == nullptr) co_return kOk;
  auto drained = here->count.drained();
  co_await drained;
  on_ring_.take(*request.ring);
  co_return kOk;
}

// Those who wait for a cluster that does not answer give up; a thread goes on closing.
Task RbdTarget::stop(Request& request, LifeCall& call) {
  control_ring_ = nullptr;
  if (session_ == nullptr) co_return kOk;
  const auto aside = close_aside(std::exchange(session_, nullptr));
  if (aside == nullptr) co_return call.fail(EAGAIN, "rbd: there is no thread to close the image");
  const Clock::time_point most = ending_ ? Clock::now() + kLastWait : Clock::time_point::max();
  Task waiting = aside->wait(request, std::min(call.deadline - kMargin, most));
  if (const Status waited = co_await waiting; !waited.ok()) {
    co_return call.fail(ETIMEDOUT, fmt::format("rbd: {} could not be closed in time: its cluster "
                                               "does not answer",
                                               shown(state_->options.name.text())));
  }
  co_return kOk;
}

// Null: no thread can be started, and the image is left open.
std::shared_ptr<Aside> RbdTarget::close_aside(std::shared_ptr<Session> session) {
  // The thread has the last reference, not we.
  const auto holder = std::make_shared<std::shared_ptr<Session>>(std::move(session));
  auto aside = Aside::start("sluice-close", [holder] { holder->reset(); });
  if (aside) return *aside;
  keep_for_ever(holder);
  return nullptr;
}

void RbdTarget::note_end() {
  ending_ = true;
  if (session_ != nullptr) session_->image().set_timeout(kLastTimeout);
}

// On the control thread, which waits.
Result<uint64_t> RbdTarget::do_resize(std::optional<uint64_t> wanted) {
  if (session_ == nullptr) return sluice::fail(ENOTCONN, "rbd: the image is not open");
  struct Growing {
    std::mutex mutex;
    Result<uint64_t> size = 0;
  };
  const auto growing = std::make_shared<Growing>();
  if (wanted) state_->expect_size(*wanted);
  auto aside = Aside::start("sluice-grow", [session = session_, growing, wanted] {
    auto size = session->image().size();
    if (size && wanted && *size < *wanted) {
      const auto grown = session->image().grow(*wanted);
      size = grown ? session->image().size() : std::unexpected(grown.error());
    }
    const std::scoped_lock guard(growing->mutex);
    growing->size = std::move(size);
  });
  if (!aside) return std::unexpected(aside.error());
  if (!(*aside)->wait(Clock::now() + kGrowTime).ok()) {
    return sluice::fail(ETIMEDOUT,
                        fmt::format("rbd: the cluster has not answered within {} s: look "
                                    "at the size of the image, and try again",
                                    kGrowTime.count()));
  }
  const std::scoped_lock guard(growing->mutex);
  if (!growing->size) return growing->size;
  const uint64_t bytes = wanted.value_or(*growing->size / kBlockBytes * kBlockBytes);
  if (bytes >= geometry_.size_bytes) session_->serve(bytes);  // otherwise it is refused
  return bytes;
}

// --- Requests without data.

Task RbdTarget::do_submit(Request& request) {
  OnRing* const here = on_ring_.of(*request.ring);
  if (here == nullptr || session_ == nullptr) return Status::from_errno(ENOTCONN);
  if (state_->has_failed()) return Status::from_errno(EIO);
  if (request.op == Op::prefetch) return kOk;
  if (request.has_data()) return transfer(request, *here);
  return change(request, *here);
}

Task RbdTarget::change(Request& request, OnRing& here) {
  Call call{.op = request.op, .offset = request.offset, .length = request.length};
  if (request.op == Op::write_zeroes && !request.may_unmap) {
    if (request.fast_only) co_return Status::from_errno(EOPNOTSUPP);
    call.flags = RBD_WRITE_ZEROES_FLAG_THICK_PROVISION;
  }
  Task performing = perform(request, here, call);
  co_return co_await performing;
}

// What the cluster cannot say is data.
Task RbdTarget::do_extents(Request& request, Extents& found) {
  OnRing* const here = on_ring_.of(*request.ring);
  if (here == nullptr || session_ == nullptr) co_return Status::from_errno(ENOTCONN);
  if (state_->has_failed()) co_return Status::from_errno(EIO);
  Image& image = session_->image();
  const uint64_t most = image.facts().has_object_map ? request.length : kScannedMax;
  auto find = [&] {
    return image.find_extents(request.offset, std::min(request.length, most), found);
  };
  Offload::Job job(session_->offload(), here->count, "extents", find);
  [[maybe_unused]] const Status status = co_await job;
  co_return kOk;
}

}  // namespace sluice::rbd
