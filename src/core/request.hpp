// Request: one block I/O on its way down the stack. Everything is in bytes, never in sectors.
//
// A front end makes one per tag; a target makes children for its members with child(). Whoever made
// a request keeps it alive, unmoved, until the Task that serves it has finished. The pointers name
// what belongs to the tag that serves the request; they are used by its reactor's thread only.
#pragma once

#include <cstdint>

#include "core/view.hpp"
#include "core/whereabouts.hpp"

namespace sluice {

class Arena;
class Follower;
class ReadyList;
class Ring;

enum class Op : uint8_t { read, write, flush, discard, write_zeroes };

inline constexpr int kOpCount = 5;

const char* to_string(Op op);

struct Request {
  Op op = Op::flush;
  bool fua = false;       // write, write_zeroes: durable before it is reported done
  bool may_unmap = true;  // write_zeroes: the range may be deallocated
  uint64_t offset = 0;    // bytes; multiples of the target's logical block
  uint64_t length = 0;    // bytes; 0 for flush
  View data;              // read and write: exactly `length` bytes

  // Which of the front end's requests it is, or was made for.
  uint16_t queue = 0;
  uint16_t tag = 0;

  Ring* ring = nullptr;
  Arena* arena = nullptr;
  ReadyList* ready = nullptr;

  // What the front end wants done right after the one operation that serves all of this request, or
  // null. A target that does anything after that operation leaves it alone; see Target::may_link().
  Follower* follower = nullptr;

  Whereabouts where = {};

  bool has_data() const { return op == Op::read || op == Op::write; }

  // The same operation on another range, with no data and no follower.
  Request child(uint64_t child_offset, uint64_t child_length) const {
    return {.op = op,
            .fua = fua,
            .may_unmap = may_unmap,
            .offset = child_offset,
            .length = child_length,
            .data = {},
            .queue = queue,
            .tag = tag,
            .ring = ring,
            .arena = arena,
            .ready = ready,
            .follower = nullptr,
            .where = {.door = where.door, .parent = this}};
  }
  // The same operation on another range, with that part of the data.
  Request child(uint64_t child_offset, View part) const {
    Request request = child(child_offset, uint64_t{part.length()});
    request.data = std::move(part);
    return request;
  }
};

}  // namespace sluice
