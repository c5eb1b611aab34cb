// ReadPiece: an answer to a read, or a chunk of one, that has come with all of its data.
//
// Pure functions over what was received. Answers of other kinds, and those that are wrong, are left
// to the connection, which reads them part by part.
#pragma once

#include <cstddef>
#include <optional>

#include "nbd/reply.hpp"
#include "target/nbd/call_table.hpp"

namespace sluice::nbd::client {

struct ReadPiece {
  Call* call = nullptr;
  ChunkHead place{};     // its range; not compared with that of the call
  Bytes data{};          // in the buffer
  size_t bytes = 0;      // of the buffer, headers included
  bool is_last = false;  // of its answer
};

// The one with which the buffer begins, if it is one, to a call of the table.
std::optional<ReadPiece> whole_read_piece(Bytes buffer, Headers headers, const CallTable& calls);

}  // namespace sluice::nbd::client
