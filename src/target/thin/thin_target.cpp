#include "target/thin/thin_target.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/log.hpp"
#include "ring/ring.hpp"
#include "target/life/control_reactor.hpp"

namespace sluice::thin {
namespace {

constexpr uint32_t kIoBytesMax = 4 << 20;
constexpr size_t kOriginIndex = 2;
constexpr std::chrono::seconds kGrowMost{20};

}  // namespace

// Commits once a second, as the kernel does, and discards what has become free.
class ThinTarget::Housekeeping final : public Job {
 public:
  explicit Housekeeping(Pool& pool) : Job("housekeeping"), pool_(pool) {}

 private:
  Task step(Request& request) override { return pool_.tidy(request); }
  std::chrono::nanoseconds pause_after(std::chrono::nanoseconds step) const override {
    return std::max<std::chrono::nanoseconds>(std::chrono::seconds(1), step);
  }

  Pool& pool_;
};

ThinTarget::ThinTarget(Children children, std::shared_ptr<Pool> pool, const Shape& shape)
    : Target(std::move(children)),
      pool_(std::move(pool)),
      has_pool_(!this->children().empty()),
      origin_(this->children().size() > kOriginIndex ? &child(kOriginIndex) : nullptr),
      volume_(shape.id) {
  geometry_ = pool_->data().geometry();
  if (origin_ != nullptr) geometry_ = combine(geometry_, origin_->geometry());
  const bool writable = pool_->options().writable && !shape.read_only;
  geometry_.size_bytes = shape.size_bytes;
  geometry_.exact_bytes = 0;
  geometry_.read_only = !writable;
  geometry_.max_io_bytes = kIoBytesMax;
  geometry_.max_discard_bytes = 0;
  geometry_.can_discard = writable && pool_->options().discards != Discards::ignore;
  geometry_.can_write_zeroes = writable;
  geometry_.can_prefetch = false;
  geometry_.can_fua = writable;
  geometry_.volatile_cache = writable;
}

ThinTarget::~ThinTarget() = default;

Task ThinTarget::start(Request& request, LifeCall& call) {
  if (has_pool_) {
    Task opening = pool_->open(request, call);
    if (const Status status = co_await opening; !status.ok()) co_return status;
  }
  if (has_pool_ && call.purpose == LifeCall::Purpose::serve && pool_->options().writable) {
    std::string why;
    Task growing = pool_->grow(request, why);
    if (const Status status = co_await growing; !status.ok()) {
      log().warn("{}: it does not use all of its devices: {}", pool_->options().name, why);
    }
  }
  Task joining = pool_->open_volume(request, call, volume_);
  if (const Status status = co_await joining; !status.ok()) {
    std::string why = std::move(call.why);
    if (has_pool_) {
      Task closing = pool_->close(request);
      std::ignore = co_await closing;
    }
    co_return call.fail(status.error(), std::move(why));
  }
  block_bytes_ = pool_->block_bytes();
  geometry_.io_opt_bytes = static_cast<uint32_t>(block_bytes_);
  geometry_.discard_granularity_bytes = static_cast<uint32_t>(block_bytes_);
  if (call.purpose == LifeCall::Purpose::serve) control_ = call.control;
  if (has_pool_ && call.jobs != nullptr && pool_->options().writable) {
    housekeeping_ = std::make_unique<Housekeeping>(*pool_);
    call.jobs->start(*housekeeping_, *request.ring);
  }
  co_return kOk;
}

Task ThinTarget::stop(Request& request, LifeCall&) {
  control_ = nullptr;
  Task leaving = pool_->close_volume(request, volume_);
  Status status = co_await leaving;
  if (has_pool_) {
    Task closing = pool_->close(request);
    status = co_await closing;
  }
  co_return status;
}

Health ThinTarget::health() const { return has_pool_ ? pool_->transaction().health() : Health(); }

std::string ThinTarget::swap_risk() const {
  return "thin allocates memory for requests that need a new block";
}

Task ThinTarget::do_submit(Request& request) {
  if (request.changes_data() && pool_->transaction().is_read_only()) return Status::from_errno(EIO);
  switch (request.op) {
    case Op::read:
      return read(request);
    case Op::write:
      return write(request);
    case Op::flush:
      return pool_->transaction().flush(request);
    case Op::discard:
      return discard(request);
    case Op::write_zeroes:
      return write_zeroes(request);
    case Op::prefetch:
      return kOk;
  }
  return Status::from_errno(EOPNOTSUPP);
}

// The size of the volume is the user's choice. Without one the pool grows with its devices.
Result<uint64_t> ThinTarget::do_resize(std::optional<uint64_t> wanted) {
  if (wanted) return *wanted;
  if (has_pool_) {
    if (auto followed = pool_->follow_devices(); !followed) {
      return std::unexpected(followed.error());
    }
    if (auto grown = grow_pool(); !grown) return std::unexpected(grown.error());
  }
  return uint64_t{geometry_.size_bytes};
}

Result<void> ThinTarget::grow_pool() {
  if (control_ == nullptr) return {};  // the next start uses the new sizes
  // What goes on after the deadline has its own text.
  const auto why = std::make_shared<std::string>();
  const Status grown =
      control_->perform([pool = pool_, why](Request& request) { return pool->grow(request, *why); },
                        ControlReactor::Clock::now() + kGrowMost);
  if (grown.ok()) return {};
  return fail(grown.error(), fmt::format("the pool cannot grow: {}",
                                         why->empty() ? std::strerror(grown.error()) : *why));
}

}  // namespace sluice::thin
