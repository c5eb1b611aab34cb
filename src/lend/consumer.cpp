#include "lend/consumer.hpp"

#include "ring/ring.hpp"

namespace sluice::lend {
namespace {

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};

}  // namespace

Direction direction_of(const Consumer& consumer) {
  const bool fills =
      std::holds_alternative<Read>(consumer) || std::holds_alternative<Recv>(consumer) ||
      std::holds_alternative<Readv>(consumer) || std::holds_alternative<ReadDevice>(consumer);
  return fills ? Direction::destination : Direction::source;
}

Task Consumption::run(Request& request) {
  if (const auto* to = std::get_if<ReadDevice>(&consumer_)) {
    return run_device(request, to->device, Op::read, to->offset, false);
  }
  if (const auto* to = std::get_if<WriteDevice>(&consumer_)) {
    return run_device(request, to->device, Op::write, to->offset, to->fua);
  }
  return run_operation(request);
}

void Consumption::cancel(Ring& ring) {
  if (running_ != nullptr) ring.cancel(*running_);
}

int64_t cqe_result(uint64_t moved_bytes, Status status) {
  const bool ended = status.ok() || status.error() == ENODATA;
  if (moved_bytes != 0 || ended) return static_cast<int64_t>(moved_bytes);
  return -status.error();
}

Task Consumption::run_operation(Request& request) {
  if (const auto* to = std::get_if<Readv>(&consumer_)) {
    lent_ = lent_.select(to->pieces, *request.arena);
  }
  if (const auto* to = std::get_if<Writev>(&consumer_)) {
    lent_ = lent_.select(to->pieces, *request.arena);
  }
  auto moving = operation(*request.ring);
  running_ = &moving;
  status_ = co_await moving;
  running_ = nullptr;
  moved_ = moving.moved_bytes();
  // The pages have no address, but the file needs one.
  const bool no_address = lent_.status().ok() && !lent_.loan()->addressable();
  if (status_.error() == EFAULT && no_address) status_ = Status::from_errno(EOPNOTSUPP);
  lent_.drop();
  co_return status_;
}

Operation Consumption::operation(Ring& ring) {
  return std::visit(
      Overloaded{
          [&](const Read& to) { return ring.read(to.file, to.offset, lent_); },
          [&](const Recv& to) { return ring.recv(to.socket, lent_); },
          [&](const Write& to) { return ring.write(to.file, to.offset, lent_, to.durable); },
          [&](const Send& to) { return ring.send(to.socket, lent_, to.message_flags); },
          [&](const SendZc& to) { return ring.send_zc(to.socket, lent_, to.message_flags); },
          [&](const Readv& to) { return ring.read(to.file, to.offset, lent_); },
          [&](const Writev& to) { return ring.write(to.file, to.offset, lent_, to.durable); },
          [&](const auto&) { return ring.send({}, View::broken(EOPNOTSUPP)); },
      },
      consumer_);
}

// Makes a request for the other device, with the same pages.
Task Consumption::run_device(Request& request, Device device, Op op, uint64_t offset, bool fua) {
  status_ = lent_.status();
  if (status_.ok() && lent_.loan()->direction() != direction_of(consumer_)) {
    status_ = Status::from_errno(EACCES);
  }
  if (!status_.ok()) {
    lent_.drop();
    co_return status_;
  }
  const uint64_t length = lent_.length();
  Request part = request.child(offset, std::move(lent_));
  part.op = op;
  part.fua = fua;
  {
    Task serving = device.submit(part);
    status_ = co_await serving;
  }
  if (status_.ok()) moved_ = length;
  co_return status_;
}

}  // namespace sluice::lend
