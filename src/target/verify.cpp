#include "target/verify.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/child_requests.hpp"
#include "core/gather.hpp"
#include "core/log.hpp"
#include "core/private_loan.hpp"
#include "ring/ring.hpp"
#include "target/open.hpp"

namespace sluice {
namespace {

constexpr uint32_t kIoBytes = 1 << 20;  // per request: bounds the copies
constexpr uint64_t kLoggedMismatches = 10;

}  // namespace

Verify::Verify(Children main_and_reference, const Geometry& geometry)
    : Target(std::move(main_and_reference)) {
  geometry_ = geometry;
  geometry_.needs_bytes = true;
  geometry_.max_io_bytes = kIoBytes;
}

Verify::~Verify() {
  if (mismatches() > kLoggedMismatches) log().error("verify: {} reads differed", mismatches());
}

// The reference is at least as large as the main child.
Result<uint64_t> Verify::do_resize(std::optional<uint64_t> wanted) {
  auto size = child(0).resize(wanted);
  if (!size || *size <= child(1).geometry().size_bytes) return size;
  if (auto reference = child(1).resize(size.value()); !reference) return reference;
  return size;
}

Task Verify::do_submit(Request& request) {
  switch (request.op) {
    case Op::read:
      return read(request);
    case Op::flush:
    case Op::prefetch:
      return submit_to_all(request);
    default:
      return write(request);
  }
}

Task Verify::read(Request& request) {
  RangeLock::Hold hold(ranges_, *request.ring, request.offset, request.length,
                       RangeLock::Mode::shared);
  co_await hold;
  const Buffer buffers[] = {Buffer(request.length), Buffer(request.length)};
  PrivateLoan loans[] = {{Direction::destination, buffers[0].bytes()},
                         {Direction::destination, buffers[1].bytes()}};
  {
    ChildRequests parts(request, 2);
    Gather reading(request, 2);
    for (size_t i = 0; i < 2; ++i) {
      reading.add(child(i).submit(parts.add(request.child(request.offset, loans[i].view()))));
    }
    const Status status = co_await reading;
    if (!status.ok()) co_return status;
  }
  if (!same(request, buffers[0], buffers[1])) co_return Status::from_errno(EIO);
  auto copying = request.ring->copy_in(request.data, buffers[0].bytes());
  co_return co_await copying;
}

// The contents of discarded blocks are undefined, and may differ: write zeroes instead, which may
// also unmap.
Task Verify::write(Request& request) {
  RangeLock::Hold hold(ranges_, *request.ring, request.offset, request.length,
                       RangeLock::Mode::exclusive);
  co_await hold;
  Request both = request.child(request.offset, request.length);
  both.data = request.data;
  if (request.op == Op::discard) {
    both.op = Op::write_zeroes;
    both.may_unmap = true;
  }
  Task writing = submit_to_all(both);
  co_return co_await writing;
}

bool Verify::same(const Request& request, const Buffer& main, const Buffer& reference) {
  const auto [here, there] = std::ranges::mismatch(main.bytes(), reference.bytes());
  if (here == main.bytes().end()) return true;
  if (mismatches_.fetch_add(1, std::memory_order_relaxed) >= kLoggedMismatches) return false;
  const uint64_t place = request.offset + static_cast<uint64_t>(here - main.bytes().begin());
  log().error(
      "verify: a read of {} bytes at {} differs first at byte {}: {:#04x} in the main "
      "child, {:#04x} in the reference",
      request.length, request.offset, place, std::to_integer<unsigned>(*here),
      std::to_integer<unsigned>(*there));
  return false;
}

namespace {

Result<std::unique_ptr<Target>> open_verify(const Spec&, Target::Children&& children,
                                            OpenContext&) {
  Geometry geometry = common_geometry(children);
  const Geometry& main = children[0]->geometry();
  if (geometry.size_bytes < main.size_bytes ||
      main.size_bytes % geometry.logical_block_bytes != 0) {
    return fail(EINVAL,
                fmt::format("verify: the reference has {} bytes in blocks of {}; it must be "
                            "at least as large as the main child of {} bytes, in blocks that "
                            "divide it",
                            children[1]->geometry().size_bytes,
                            children[1]->geometry().logical_block_bytes, main.size_bytes));
  }
  geometry.can_discard = main.can_discard;  // the reference gets zeroes
  return std::make_unique<Verify>(std::move(children), geometry);
}

}  // namespace

constinit const TargetType kVerifyTarget = {
    .syntax = {.name = "verify",
               .summary = "serves its first child and compares every read with the second",
               .children_minimum = 2,
               .children_maximum = 2},
    .open = open_verify};

}  // namespace sluice
