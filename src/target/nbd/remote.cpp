#include "target/nbd/remote.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "core/events.hpp"
#include "core/log.hpp"
#include "ring/probe.hpp"

namespace sluice::nbd::client {
namespace {

constexpr uint32_t kSector = 512;
constexpr uint32_t kPhysicalMax = 64 << 10;
constexpr uint64_t kTimedRangeMax = 64 << 20;  // of one trim or write zeroes, which has `timeout`

struct Ability {
  uint16_t flag;
  std::string_view lost;
};
constexpr Ability kAbilities[] = {
    {kSendFlush, "cannot flush any more"},
    {kSendFua, "cannot write durably (FUA) any more"},
    {kSendTrim, "cannot trim any more"},
    {kSendWriteZeroes, "cannot write zeroes any more"},
    {kSendFastZero, "cannot write zeroes fast any more"},
    {kSendCache, "cannot cache any more"},
};

}  // namespace

Result<void> Remote::promise(const Agreement& agreed, bool read_only) {
  const uint32_t block = std::max(kSector, agreed.block_sizes.minimum);
  const uint32_t grain = options_.to_the_byte ? std::max(1U, agreed.block_sizes.minimum) : block;
  const uint64_t size = agreed.size / block * block;
  const uint64_t served = agreed.size / grain * grain;
  if (agreed.size == 0) return sluice::fail(EINVAL, "the export is empty");
  if (served == 0) {
    return sluice::fail(EINVAL, fmt::format("the export has {} bytes, less than one block of {}",
                                            agreed.size, grain));
  }
  if (agreed.size != served) {
    log().warn("{}: its last {} bytes are left out, its size is no multiple of {}", name(),
               agreed.size - served, grain);
  }
  const auto can = [&](uint16_t flag) { return (agreed.flags & flag) != 0; };
  geometry_.size_bytes = size;
  if (grain < block) geometry_.exact_bytes = served;
  geometry_.logical_block_bytes = block;
  geometry_.physical_block_bytes = std::clamp(std::bit_floor(agreed.block_sizes.preferred), block,
                                              std::max(block, kPhysicalMax));
  geometry_.io_opt_bytes = agreed.block_sizes.preferred;
  geometry_.max_io_bytes =
      std::min(agreed.block_sizes.payload_max, kDefaultPayloadMax) / block * block;
  geometry_.max_discard_bytes = kTimedRangeMax;
  geometry_.can_discard = can(kSendTrim);
  geometry_.can_write_zeroes = can(kSendWriteZeroes);
  geometry_.can_prefetch = can(kSendCache);
  geometry_.can_fua = can(kSendFua);
  geometry_.volatile_cache = can(kSendFlush);
  geometry_.rotational = can(kRotational);
  geometry_.read_only = read_only || can(kReadOnly);
  const bool encrypts = std::ranges::any_of(
      options_.servers, [](const Server& each) { return each.credentials != nullptr; });
  geometry_.needs_bytes = encrypts || !kernel_has_socket_fixed();
  if (geometry_.max_io_bytes == 0) {
    return sluice::fail(EINVAL, fmt::format("the export takes {} bytes at a time, less than its "
                                            "block of {}",
                                            agreed.block_sizes.payload_max, block));
  }
  promised_ = agreed;
  return {};
}

std::string Remote::weakness(const Agreement& agreed) const {
  if (agreed.size < promised_.size) {
    return fmt::format("has {} bytes now, and had {}", agreed.size, promised_.size);
  }
  if ((agreed.flags & kReadOnly) != 0 && !geometry_.read_only) return "is read-only now";
  for (const Ability& each : kAbilities) {
    if ((promised_.flags & ~agreed.flags & each.flag) != 0) return std::string(each.lost);
  }
  if ((promised_.flags & ~agreed.flags & kCanMultiConn) != 0 && connections_ > 1) {
    return "does not promise any more that its connections agree (CAN_MULTI_CONN)";
  }
  if (agreed.block_sizes.minimum > geometry_.logical_block_bytes) {
    return fmt::format("has blocks of {} bytes now, and had {}", agreed.block_sizes.minimum,
                       uint32_t{geometry_.logical_block_bytes});
  }
  if (agreed.block_sizes.payload_max < geometry_.max_io_bytes) {
    return fmt::format("takes {} bytes at a time now, and took {}", agreed.block_sizes.payload_max,
                       geometry_.max_io_bytes);
  }
  return {};
}

bool Remote::conclude_flush(const Mark& mark) {
  uint64_t before = durable_;
  while (before < mark.written && !durable_.compare_exchange_weak(before, mark.written)) {
  }
  const uint64_t losses = losses_;
  if (losses == mark.losses) return true;
  uint64_t told = reported_;
  while (told < losses && !reported_.compare_exchange_weak(told, losses)) {
  }
  return false;
}

Remote::Place Remote::place() const {
  const std::scoped_lock guard(mutex_);
  return {.epoch = epoch_, .server = server_};
}

void Remote::move_to(size_t server) {
  const std::scoped_lock guard(mutex_);
  if (server == server_) return;
  if (has_unflushed_writes()) ++losses_;
  server_ = server;
  ++epoch_;
}

void Remote::note_end() {
  const std::scoped_lock guard(mutex_);
  ending_ = true;
  for (EndNotice* const each : notices_) post(*each);
}

void Remote::connected(EndNotice& notice) {
  const std::scoped_lock guard(mutex_);
  ++connections_;
  notices_.push_back(&notice);
  if (ending_) post(notice);
}

void Remote::disconnected(EndNotice& notice) {
  const std::scoped_lock guard(mutex_);
  --connections_;
  std::erase(notices_, &notice);
}

void Remote::post(EndNotice& notice) {
  if (!std::exchange(notice.posted, true)) notice.ring.post(notice);
}

void Remote::lost(std::string_view why, uint64_t epoch) {
  bool lost_writes = false;
  {
    const std::scoped_lock guard(mutex_);
    ++lost_;
    why_ = why;
    if (epoch == epoch_) ++epoch_;  // otherwise it follows another's loss
    lost_writes = !options_.trust_process && has_unflushed_writes();
    if (lost_writes) ++losses_;
  }
  log().warn(
      "{}: the connection is lost: {}{}", name(), why,
      lost_writes ? "; writes that were not flushed may be lost, so the next flush fails" : "");
  tell();
}

void Remote::given_up(std::string_view why) {
  {
    const std::scoped_lock guard(mutex_);
    ++given_up_;
    why_ = why;
  }
  tell();
}

uint64_t Remote::restored(bool had_given_up, uint64_t repeated, const Place& at) {
  log().info("{}: connected again, to {}; {} requests are repeated", name(),
             options_.servers[at.server].text, repeated);
  {
    const std::scoped_lock guard(mutex_);
    --lost_;
    if (had_given_up) --given_up_;
    ++reconnects_;
    repeated_ += repeated;
  }
  tell();
  if (at.server == place().server) return at.epoch;
  move_to(at.server);
  return this->epoch();
}

void Remote::left(bool had_given_up) {
  const std::scoped_lock guard(mutex_);
  --lost_;
  if (had_given_up) --given_up_;
}

void Remote::fail(std::string_view why) {
  {
    const std::scoped_lock guard(mutex_);
    why_ = why;
    failed_ = true;
  }
  tell();
}

void Remote::tell() {
  const Health now = state();
  const std::string text = now.reason.empty()
                               ? std::string(to_string(now.state))
                               : fmt::format("{}: {}", to_string(now.state), now.reason);
  if (now.state == HealthState::failed) log().error("{}: {}", target_.name(), now.reason);
  emit({.kind = kHealthChanged, .text = text, .target = target_.name()});
}

Health Remote::state() const {
  const std::scoped_lock guard(mutex_);
  if (failed_) return {.state = HealthState::failed, .reason = why_};
  if (given_up_ != 0 && given_up_ == connections_) {
    return {.state = HealthState::failed,
            .reason = fmt::format("no server for {} s, so requests fail: {}",
                                  std::chrono::duration<double>(options_.reconnect).count(), why_)};
  }
  if (lost_ != 0) return {.state = HealthState::degraded, .reason = "connecting again: " + why_};
  return {};
}

Health Remote::health() const {
  using Kind = HealthNumber::Kind;
  Health now = state();
  const std::scoped_lock guard(mutex_);
  now.numbers = {
      {"connections", connections_ - std::min<uint32_t>(connections_, lost_), Kind::gauge},
      {"reconnects", reconnects_},
      {"repeated_requests", repeated_},
      {"direct_bytes", direct_bytes},
      {"copied_bytes", copied_bytes},
  };
  return now;
}

}  // namespace sluice::nbd::client
