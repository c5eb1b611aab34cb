// Whereabouts of a request on its way: at which target it is, and which requests were made to serve
// it. Only for those who look at what is in flight (frontend/in_flight.hpp); nobody decides
// anything by it.
//
// Part of a request, used by its reactor's thread only. It is kept up by two stores at the door of
// a target and a few more when a coroutine begins and ends, whatever the number of those who look.
#pragma once

namespace sluice {

class Target;
struct Request;

struct Whereabouts {
  const Target* door = nullptr;     // of the target that it came to last
  const Target* at = nullptr;       // whose coroutine serves it; null: nobody's
  const Request* parent = nullptr;  // whom it was made for

  // The children that are being served, in no order. They outlive their place in this list.
  mutable const Request* first_child = nullptr;
  mutable const Request* next = nullptr;
  mutable const Request* previous = nullptr;
};

}  // namespace sluice
