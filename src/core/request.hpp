// Request: one block I/O on its way down the stack. Everything is in bytes, never in sectors.
//
// A front end makes one per tag; a target makes children for its members with child(). The creator
// of a request keeps it alive, unmoved, until the Task that serves it has finished. The pointers
// refer to objects of the tag that serves the request; only its reactor's thread uses them.
#pragma once

#include <cstdint>

#include "core/loan.hpp"

namespace sluice {

class Arena;
class LinkedCommand;
class ReadyList;
class Ring;
class Target;
struct Request;

enum class Op : uint8_t {
  read,
  write,
  flush,
  discard,
  write_zeroes,
  prefetch,  // advice: the range will be read soon; changes no data
};

inline constexpr int kOpCount = 6;

const char* to_string(Op op);

// At which target a request is, and which requests were made to serve it: for lists of what is in
// flight (reactor/in_flight.hpp); nothing else depends on it. Used by the request's reactor only.
// Updated by two stores when a request enters a target, and by TrackedRequest.
struct RequestTracking {
  const Target* door = nullptr;     // the target that the request entered last
  const Target* at = nullptr;       // the target whose coroutine serves it; null: none
  const Request* parent = nullptr;  // the request it was made for

  // The children in flight, in no order. They outlive their entry in this list.
  mutable const Request* first_child = nullptr;
  mutable const Request* next = nullptr;
  mutable const Request* previous = nullptr;
};

struct Request {
  Op op = Op::flush;
  bool fua = false;        // write, write_zeroes: durable before it is reported done
  bool may_unmap = true;   // write_zeroes: the range may be deallocated
  bool fast_only = false;  // write_zeroes: EOPNOTSUPP instead of zeroes written as data
  uint64_t offset = 0;     // bytes; multiples of the target's logical block
  uint64_t length = 0;     // bytes; 0 for flush
  View data;               // read and write: exactly `length` bytes

  // The front end's request that it is, or was made for.
  uint16_t queue = 0;
  uint16_t tag = 0;

  Ring* ring = nullptr;
  Arena* arena = nullptr;
  ReadyList* ready = nullptr;

  // The command to link behind the single operation that serves the whole request, or null. A
  // target that does anything after that operation must not consume it; see Target::may_link().
  LinkedCommand* linked_command = nullptr;

  RequestTracking tracking = {};

  bool has_data() const { return op == Op::read || op == Op::write; }
  bool changes_data() const { return op != Op::read && op != Op::flush && op != Op::prefetch; }

  // The same operation on another range, with no data and no linked command.
  Request child(uint64_t child_offset, uint64_t child_length) const {
    return {.op = op,
            .fua = fua,
            .may_unmap = may_unmap,
            .fast_only = fast_only,
            .offset = child_offset,
            .length = child_length,
            .data = {},
            .queue = queue,
            .tag = tag,
            .ring = ring,
            .arena = arena,
            .ready = ready,
            .linked_command = nullptr,
            .tracking = {.door = tracking.door, .parent = this}};
  }
  // The same operation on another range, with that part of the data.
  Request child(uint64_t child_offset, View part) const {
    Request request = child(child_offset, uint64_t{part.length()});
    request.data = std::move(part);
    return request;
  }
};

}  // namespace sluice
