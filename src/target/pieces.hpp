// Pieces: a read or write in pieces of a bounded size. Several coroutines that serve the request
// together each take the next piece, until there is none or one of them gives up.
//
// On the request's ring; lives in the frame of one that waits for all of them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/request.hpp"

namespace sluice {

struct Piece {
  uint64_t done = 0;  // where it begins in the request
  uint32_t bytes = 0;
  View data;
};

class Pieces {
 public:
  Pieces(const Request& request, uint32_t most) : length_(request.length), most_(most) {}

  uint64_t count() const { return (length_ + most_ - 1) / most_; }

  // False: there is none left.
  bool take(const Request& request, Piece& piece) {
    piece.data = View();  // its place in the arena is free for the next one
    if (next_ >= length_) return false;
    piece.done = next_;
    piece.bytes = static_cast<uint32_t>(std::min<uint64_t>(most_, length_ - next_));
    piece.data = request.data.slice(static_cast<uint32_t>(next_), piece.bytes, *request.arena);
    next_ += piece.bytes;
    return true;
  }
  void give_up() { next_ = length_; }

 private:
  const uint64_t length_;
  const uint32_t most_;
  uint64_t next_ = 0;
};

}  // namespace sluice
