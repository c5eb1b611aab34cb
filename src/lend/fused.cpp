#include "lend/fused.hpp"

namespace sluice::lend {
namespace {

bool may_be_slave(const Consumer& consumer) {
  return std::holds_alternative<Read>(consumer) || std::holds_alternative<Write>(consumer) ||
         std::holds_alternative<Send>(consumer) || std::holds_alternative<Recv>(consumer) ||
         std::holds_alternative<SendZc>(consumer);
}

}  // namespace

View FusedMaster::buffer() const {
  if (device == nullptr) return View::broken(EBADF);
  return device->lend_whole(queue, tag);
}

Task Fused::run(Request& request) {
  cqe_count_ = 0;
  View buffer = sqe_.master.buffer();
  const Status accepted = accept(buffer);
  if (!accepted.ok()) {
    result_ = -accepted.error();
    post(Cqe::Of::master, result_);
    co_return accepted;
  }
  slave_.emplace(buffer.slice(sqe_.piece.offset, sqe_.piece.length, *request.arena), sqe_.slave);
  Status status;
  {
    Task running = slave_->run(request);
    status = co_await running;
  }
  result_ = slave_->result();
  const bool silent = status.ok() && sqe_.skip_slave;
  if (!silent) post(Cqe::Of::slave, result_);
  buffer.drop();
  const bool tells = sqe_.version == FusedVersion::v3 && (silent || !status.ok());
  const int64_t told = tells ? result_ : 0;
  if (told < 0 || !sqe_.skip_master) post(Cqe::Of::master, told);
  co_return status;
}

void Fused::cancel(Ring& ring) {
  if (slave_) slave_->cancel(ring);
}

Status Fused::accept(const View& buffer) const {
  if (!may_be_slave(sqe_.slave)) return Status::from_errno(EOPNOTSUPP);
  if (!buffer.status().ok()) return buffer.status();
  const bool allowed = buffer.loan()->direction() == direction_of(sqe_.slave);
  return allowed ? kOk : Status::from_errno(EACCES);
}

void Fused::post(Cqe::Of of, int64_t result) { cqes_[cqe_count_++] = {of, result}; }

}  // namespace sluice::lend
