#include "target/nbd/nbd_target.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/extents.hpp"
#include "core/log.hpp"
#include "core/private_loan.hpp"

namespace sluice::nbd::client {
namespace {

using std::chrono::nanoseconds;
using namespace std::chrono_literals;

constexpr nanoseconds kDialTime = 10s;
constexpr nanoseconds kLastDialTime = 1s;  // when the device ends
// One server answers fewer extents, and a cache request has 32 bits for its length.
constexpr uint64_t kRangeMax = uint64_t{1} << 30;

Command command_of(Op op) {
  switch (op) {
    case Op::read:
      return Command::read;
    case Op::write:
      return Command::write;
    case Op::flush:
      return Command::flush;
    case Op::discard:
      return Command::trim;
    case Op::write_zeroes:
      return Command::write_zeroes;
    case Op::prefetch:
      break;
  }
  return Command::cache;
}

}  // namespace

NbdTarget::NbdTarget(Options options, bool read_only)
    : read_only_(read_only), remote_(std::move(options), *this) {}

NbdTarget::~NbdTarget() {
  for (Session& each : spares_) each.end();
}

std::string NbdTarget::swap_risk() const {
  return "nbd: a write to the server needs memory for the network, and waits for another program";
}

// --- Requests.

Task NbdTarget::do_submit(Request& request) {
  if (request.fast_only && (remote_.promised().flags & kSendFastZero) == 0) {
    co_return Status::from_errno(EOPNOTSUPP);
  }
  Call call;
  call.header = header_of(request);
  call.data = request.data;
  const Remote::Mark mark = remote_.mark();
  Task performing = perform(request, call);
  const Status status = co_await performing;
  if (request.op == Op::flush && status.ok() && !remote_.conclude_flush(mark)) {
    co_return Status::from_errno(EIO);
  }
  co_return status;
}

RequestHeader NbdTarget::header_of(const Request& request) const {
  RequestHeader header{.command = command_of(request.op)};
  if (request.op == Op::flush) return header;
  header.offset = request.offset;
  header.length = request.op == Op::prefetch ? std::min(request.length, kRangeMax) : request.length;
  if (request.fua && geometry_.can_fua) header.flags |= kFua;
  if (request.op != Op::write_zeroes) return header;
  if (!request.may_unmap) header.flags |= kNoHole;
  if (request.fast_only) header.flags |= kFastZero;
  return header;
}

Task NbdTarget::do_extents(Request& request, Extents& found) {
  if (!remote_.promised().allocation_context) co_return kOk;
  Call call;
  call.header = {.command = Command::block_status,
                 .offset = request.offset,
                 .length = std::min(request.length, kRangeMax)};
  call.extents = &found;
  Task performing = perform(request, call);
  const Status status = co_await performing;
  // What a server cannot say is data.
  co_return status.refused() || status.error() == EOPNOTSUPP ? kOk : status;
}

Task NbdTarget::perform(Request& request, Call& call) {
  OnRing* const here = on_ring_.of(*request.ring);
  if (here == nullptr) co_return Status::from_errno(ENOTCONN);
  if (here->connections.empty()) {
    Task performing = perform_elsewhere(request, call, *here);
    co_return co_await performing;
  }
  const auto& chosen = *std::ranges::min_element(here->connections, {}, [](const auto& each) {
    return std::pair(!each->is_usable(), each->in_flight());
  });
  chosen->submit(call);
  Call::Answer answer(call);
  co_return co_await answer;
}

// At the home; without one this is the control reactor, and the session is free.
Task NbdTarget::perform_elsewhere(Request& request, Call& call, OnRing& here) {
  if (call.data.length() != 0 && !call.data.loan()->addressable()) {
    Task performing = perform_by_address(request, call, here);
    co_return co_await performing;
  }
  ExternalCompletion answer(here.foreign);
  if (post_home(call, answer)) co_return co_await answer;
  AsyncMutex::Hold lease(lease_, *request.ring);
  co_await lease;
  ExternalCompletion second(here.foreign);
  if (post_home(call, second)) co_return co_await second;
  Task performing = perform_alone(request, call);
  co_return co_await performing;
}

bool NbdTarget::post_home(Call& call, ExternalCompletion& answer) {
  const std::scoped_lock guard(mutex_);
  if (home_ == nullptr) return false;
  answer.begin();
  call.foreign = &answer;
  call.connection = home_;
  home_->expect_foreign();
  home_->ring().post(call);
  return true;
}

// Pages that only this ring can name are copied.
Task NbdTarget::perform_by_address(Request& request, Call& call, OnRing& here) {
  if (here.pages == nullptr) {
    auto pages = PagePool::create(geometry_.max_io_bytes, PagePool::Residence::on_use);
    if (!pages) co_return Status::from_errno(ENOMEM);
    here.pages = std::move(*pages);
  }
  auto taking = here.pages->take(*request.ready, request.length);
  const Pages pages = co_await taking;
  const std::span<std::byte> memory = pages.bytes().first(request.length);
  remote_.copied_bytes.fetch_add(request.length, std::memory_order_relaxed);
  if (request.op == Op::write) {
    auto copying = request.ring->copy_out(request.data, memory);
    if (const Status copied = co_await copying; !copied.ok()) co_return copied;
  }
  {
    PrivateLoan loan(request.data.loan()->direction(), memory);
    call.data = loan.view();
    Task performing = perform_elsewhere(request, call, here);
    const Status performed = co_await performing;
    call.data.drop();
    if (!performed.ok() || request.op == Op::write) co_return performed;
  }
  auto copying = request.ring->copy_in(request.data, memory);
  co_return co_await copying;
}

// A connection for one call. The lease is held.
Task NbdTarget::perform_alone(Request& request, Call& call) {
  Session session;
  LifeCall life{.deadline = LifeCall::Clock::now() + kDialTime};
  Task opening = open_session(request, life, session);
  if (const Status opened = co_await opening; !opened.ok()) {
    log().error("{}", life.why);
    co_return Status::from_errno(EIO);
  }
  call.foreign = nullptr;
  Connection connection(*request.ring, remote_, std::move(session), nullptr);
  connection.begin();
  connection.submit(call);
  Call::Answer answer(call);
  const Status status = co_await answer;
  Session after;
  Task closing = connection.close(request, after);
  [[maybe_unused]] const Status closed = co_await closing;
  if (after.valid()) spares_.push_back(std::move(after));
  co_return status;
}

// --- Life.

// Tries each server once.
Task NbdTarget::dial_any(Request& request, nanoseconds time, Session& session, std::string& why) {
  const std::vector<Server>& servers = remote_.options().servers;
  const auto part = std::min(kDialTime, time / static_cast<int64_t>(servers.size()));
  Status status = Status::from_errno(EHOSTUNREACH);
  for (size_t i = 0; i < servers.size(); ++i) {
    Dialler dialler(*request.ring);
    Task dialling = dialler.dial(request, servers[i], part);
    status = co_await dialling;
    if (status.ok()) {
      session = std::move(dialler.session);
      session.server = i;
      co_return kOk;
    }
    why +=
        fmt::format("{}cannot use {}: {}", why.empty() ? "" : "; ", servers[i].text, dialler.why);
  }
  co_return status;
}

// A free session, or a new one, which keeps the promise.
Task NbdTarget::open_session(Request& request, LifeCall& call, Session& session) {
  while (!spares_.empty()) {
    session = std::move(spares_.back());
    spares_.pop_back();
    if (session.server == remote_.place().server) co_return kOk;
    session.end();  // the others have moved on
  }
  std::string why;
  const nanoseconds most = remote_.is_ending() ? kLastDialTime : nanoseconds::max();
  Task dialling = dial_any(request, std::min(call.left(), most), session, why);
  if (const Status dialled = co_await dialling; !dialled.ok()) {
    co_return call.fail(dialled.error(), why);
  }
  if (!remote_.has_promised()) {
    remote_.move_to(session.server);
    co_return kOk;
  }
  if (const std::string weakness = remote_.weakness(session.agreed); !weakness.empty()) {
    session.end();
    co_return call.fail(ESTALE, fmt::format("{} {}", remote_.name(), weakness));
  }
  remote_.move_to(session.server);
  co_return kOk;
}

Task NbdTarget::start(Request& request, LifeCall& call) {
  control_ring_ = request.ring;
  AsyncMutex::Hold lease(lease_, *request.ring);
  co_await lease;
  Session session;
  Task opening = open_session(request, call, session);
  if (const Status opened = co_await opening; !opened.ok()) co_return opened;
  if (!remote_.has_promised()) {
    if (auto promised = remote_.promise(session.agreed, read_only_); !promised) {
      session.end();
      co_return call.fail(promised.error().error,
                          fmt::format("cannot use {}: {}", remote_.name(), promised.error().text));
    }
    geometry_ = remote_.geometry();
  }
  spares_.push_back(std::move(session));
  co_return kOk;
}

Task NbdTarget::attach(Request& request, LifeCall& call) {
  auto here = std::make_unique<OnRing>(*request.ring);
  if (request.ring != control_ring_) {
    Task adding = add_connections(request, call, *here);
    if (const Status added = co_await adding; !added.ok()) co_return added;
  }
  on_ring_.put(*request.ring, std::move(here));
  co_return kOk;
}

Task NbdTarget::add_connections(Request& request, LifeCall& call, OnRing& here) {
  AsyncMutex::Hold lease(lease_, *request.ring);
  co_await lease;
  const bool is_first = home_ == nullptr;
  const uint32_t wanted = remote_.may_have_several() ? remote_.options().connections
                          : is_first                 ? 1
                                                     : 0;
  for (uint32_t i = 0; i < wanted; ++i) {
    Session session;
    Task opening = open_session(request, call, session);
    const Status opened = co_await opening;
    if (!opened.ok()) {
      for (const auto& each : here.connections) {
        Task closing = each->close(request, session);
        [[maybe_unused]] const Status closed = co_await closing;
        session.end();
      }
      co_return opened;
    }
    here.connections.push_back(std::make_unique<Connection>(*request.ring, remote_,
                                                            std::move(session), &here.connections));
    here.connections.back()->begin();
  }
  const std::scoped_lock guard(mutex_);
  if (is_first && !here.connections.empty()) home_ = here.connections.front().get();
  co_return kOk;
}

Task NbdTarget::detach(Request& request, LifeCall& /*call*/) {
  OnRing* const here = on_ring_.of(*request.ring);
  if (here == nullptr) co_return kOk;
  AsyncMutex::Hold lease(lease_, *request.ring);
  co_await lease;
  for (const auto& each : here->connections) {
    {
      const std::scoped_lock guard(mutex_);
      if (home_ == each.get()) home_ = nullptr;
    }
    Task draining = each->drain(request);
    [[maybe_unused]] const Status drained = co_await draining;
    Session session;
    Task closing = each->close(request, session);
    [[maybe_unused]] const Status closed = co_await closing;
    if (session.valid()) spares_.push_back(std::move(session));
  }
  on_ring_.take(*request.ring);
  co_return kOk;
}

// Whoever connects next finds everything durable. Sessions stay open: a server that ends with its
// last client goes on for a stack that is started again.
Task NbdTarget::stop(Request& request, LifeCall& call) {
  control_ring_ = nullptr;
  if (!geometry_.volatile_cache || !remote_.has_unflushed_writes()) co_return kOk;
  Request flush = request.child(0, uint64_t{0});
  flush.op = Op::flush;
  flush.fua = false;
  AsyncMutex::Hold lease(lease_, *request.ring);
  co_await lease;
  Call flushing;
  flushing.header = {.command = Command::flush};
  Task performing = perform_alone(flush, flushing);
  const Status flushed = co_await performing;
  if (flushed.ok() && !remote_.has_unreported_losses()) co_return kOk;
  co_return call.fail(flushed.ok() ? EIO : flushed.error(),
                      remote_.name() + ": writes that were not flushed may be lost");
}

// The next server would know nothing of them.
Result<void> NbdTarget::check_handover() const {
  if (!remote_.has_unreported_losses()) return {};
  return sluice::fail(EBUSY, fmt::format("{} has lost a connection with writes that were not "
                                         "flushed: flush the device first, which will fail",
                                         remote_.name()));
}

}  // namespace sluice::nbd::client
