// plain(), transfer(): the requests of a format, such as an image or a thin pool, to its storage.
#pragma once

#include <utility>

#include "core/request.hpp"

namespace sluice {

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

// With data: read, write.
inline Request transfer(const Request& parent, Op op, uint64_t offset, View data) {
  Request request = plain(parent, op, offset, data.length());
  request.data = std::move(data);
  return request;
}

}  // namespace sluice
