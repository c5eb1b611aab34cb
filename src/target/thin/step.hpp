// Step: a part of the work of a pool's transaction, done as a whole.
//
//   const auto step = [&] { return transaction->create_device(id); };
//   Task changing = live.change(request, step, error);
//
// A reference to a callable that returns Result<void>, and outlives it. It may be called again and
// again.
#pragma once

#include "core/error.hpp"

namespace sluice::thin {

class Step {
 public:
  template <typename Work>
  Step(const Work& work)  // NOLINT(google-explicit-constructor)
      : work_(&work), call_([](const void* callable) -> Result<void> {
          return (*static_cast<const Work*>(callable))();
        }) {}
  template <typename Work>
  Step(const Work&& work) = delete;

  Result<void> operator()() const { return call_(work_); }

 private:
  const void* work_;
  Result<void> (*call_)(const void*);
};

}  // namespace sluice::thin
