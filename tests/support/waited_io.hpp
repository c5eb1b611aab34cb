// Waited: an I/O of front end `direct` that a test waits for.
#pragma once

#include <semaphore>

#include "frontend/direct/io.hpp"

namespace sluice::test {

class Waited final : public direct::Io {
 public:
  void done(Status status) noexcept override {
    result = status;
    ended.release();
  }
  Status result;
  std::binary_semaphore ended{0};
};

}  // namespace sluice::test
