// Requests of a thin volume, and of its pool, to the data device.
#pragma once

#include <utility>

#include "core/request.hpp"

namespace sluice::thin {

// Without data: flush, discard, write_zeroes. Durability is the caller's concern, whatever the
// client asked for.
inline Request plain(const Request& parent, Op op, uint64_t offset = 0, uint64_t length = 0) {
  Request request = parent.child(offset, length);
  request.op = op;
  request.fua = false;
  request.may_unmap = true;
  request.fast_only = false;
  return request;
}

}  // namespace sluice::thin
