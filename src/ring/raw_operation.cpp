#include "ring/raw_operation.hpp"

#include "ring/ring.hpp"

namespace sluice {

void RawOperation::await_suspend(std::coroutine_handle<> coroutine) {
  coroutine_ = coroutine;
  ring_.submit(*this);
}

void RawOperation::complete(int32_t result, uint32_t) {
  result_ = result;
  ring_.ready().push(coroutine_);
}

}  // namespace sluice
