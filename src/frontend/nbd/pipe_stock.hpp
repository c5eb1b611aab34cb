// PipeStock: the pipes of a queue, lent to its connections for one READ at a time. There are few,
// so that clients which do not take their replies use up neither the descriptors nor the pages that
// the kernel allows a user for pipes. Used by one thread.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "core/pipe.hpp"
#include "ring/pipe_pool.hpp"

namespace sluice::nbd {

class PipeStock {
 public:
  static constexpr size_t kMost = 16;
  static constexpr size_t kDescriptorsMax = 2 * kMost;
  static constexpr uint32_t kPipeBytes = 1 << 20;

  // Empty. nullopt: all are lent, or the kernel has allowed no more.
  std::optional<Pipe> take() {
    if (idle_.empty()) {
      if (lent_ >= most_) return std::nullopt;
      auto made = PipePool::make_pipe(kPipeBytes);
      if (!made) {
        most_ = lent_;
        return std::nullopt;
      }
      idle_.push_back(std::move(*made));
    }
    std::optional<Pipe> pipe(std::move(idle_.back()));
    idle_.pop_back();
    ++lent_;
    return pipe;
  }
  void give_back(Pipe pipe, bool is_empty) {
    --lent_;
    if (is_empty) idle_.push_back(std::move(pipe));
  }

 private:
  std::vector<Pipe> idle_;
  size_t lent_ = 0;
  size_t most_ = kMost;
};

}  // namespace sluice::nbd
