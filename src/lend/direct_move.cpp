#include "lend/direct_move.hpp"

#include <algorithm>

#include "lend/splice.hpp"
#include "ring/ring.hpp"

namespace sluice::lend {

Task DirectMove::run(Request& request, Status checked) {
  status_ = checked;
  if (!status_.ok() || length_ == 0) co_return status_;
  status_ = producer_.prepare(length_, use_);
  if (!status_.ok()) co_return status_;
  if (!pipe_.enter()) {
    status_ = Status::from_errno(EBUSY);
    co_return status_;
  }
  while (status_.ok() && moved_ < length_) {
    Task moving = move_chunk(request);
    status_ = co_await moving;
  }
  pipe_.leave();
  co_return status_;
}

// Moves a chunk. Ok: all produced bytes have been consumed.
Task DirectMove::move_chunk(Request& request) {
  const auto most = static_cast<uint32_t>(std::min<uint64_t>(length_ - moved_, DirectPipe::kBytes));
  pipe_.ask(use_);
  Status status;
  {
    Task producing = producer_.produce(request, pipe_, most);
    status = co_await producing;
  }
  if (!status.ok()) co_return status;
  if (pipe_.empty()) co_return Status::from_errno(ENODATA);
  if (!pipe_.confirmed()) {
    moved_ = 0;  // earlier chunks do not count either (S42)
    co_return Status::from_errno(EACCES);
  }
  Task consuming = pipe_.file_bytes() != 0 ? consume_file_pages(request) : consume_lent(request);
  co_return co_await consuming;
}

Task DirectMove::consume_lent(Request& request) {
  const uint64_t offset = offset_ + moved_;
  Consumer consumer = Write{.file = file_, .offset = offset};
  if (use_ == Direction::destination) consumer = Read{.file = file_, .offset = offset};
  Consumption consuming(pipe_.lent_bytes(*request.arena), consumer);
  Status status;
  {
    Task running = consuming.run(request);
    status = co_await running;
  }
  const auto consumed = static_cast<uint32_t>(consuming.moved_bytes());
  pipe_.dismiss(consumed);
  moved_ += consumed;
  co_return status;
}

Task DirectMove::consume_file_pages(Request& request) {
  while (!pipe_.empty()) {
    auto splicing =
        splice(*request.ring, **pipe_.file_pages(), {file_, offset_ + moved_}, pipe_.file_bytes());
    const int32_t result = co_await splicing;
    if (result == -EINTR) continue;
    if (result <= 0) co_return Status::from_errno(result == 0 ? ENOSPC : -result);
    pipe_.dismiss(static_cast<uint32_t>(result));
    moved_ += static_cast<uint32_t>(result);
  }
  co_return kOk;
}

}  // namespace sluice::lend
