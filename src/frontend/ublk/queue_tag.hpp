// The tag of a ublk queue, for the two source files of the queue.
#pragma once

#include <cstddef>

#include "core/page_pool.hpp"
#include "frontend/ublk/queue.hpp"
#include "reactor/tag.hpp"

namespace sluice::ublk {

struct Queue::Tag final : sluice::Tag {
  int slot = Loan::kNoSlot;       // of the buffer table
  bool by_hand = false;           // this request needs work before and after it is served
  bool registered = false;        // by hand
  Pages copy;                     // of the data, if it is copied here
  std::byte* buffer = nullptr;    // if the driver copies
  Completion* command = nullptr;  // will deliver the next request; null: there is one
  bool ended = false;
};

}  // namespace sluice::ublk
