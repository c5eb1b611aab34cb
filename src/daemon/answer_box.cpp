#include "daemon/answer_box.hpp"

#include <sys/eventfd.h>

#include <cerrno>
#include <utility>

namespace sluice {

AnswerBox::AnswerBox() : bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!bell_.valid()) fault_ = errno;
}

void AnswerBox::ring() { eventfd_write(bell(), 1); }

ControlAnswer AnswerBox::promise(const SharedStage& request) {
  return ControlAnswer(
      [box = shared_from_this(), request](Result<ControlReply> reply) {
        box->put({.request = request, .reply = std::move(reply)});
      },
      request);
}

void AnswerBox::put(Arrived answer) {
  {
    const std::scoped_lock guard(mutex_);
    if (closed_) return;
    arrived_.push_back(std::move(answer));
  }
  ring();
}

std::vector<AnswerBox::Arrived> AnswerBox::take() {
  eventfd_t count = 0;
  eventfd_read(bell(), &count);
  const std::scoped_lock guard(mutex_);
  return std::exchange(arrived_, {});
}

void AnswerBox::close() {
  const std::scoped_lock guard(mutex_);
  closed_ = true;
  arrived_.clear();
}

}  // namespace sluice
