// FaultOptions: the checked and converted options of a fault target.
//
// A plain value, read once when the target is opened.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstdint>

#include "core/error.hpp"
#include "core/request.hpp"
#include "spec/spec.hpp"

namespace sluice {

struct FaultOptions {
  // The requests that faults apply to. A range other than the whole target excludes flushes.
  uint32_t ops = ~0U;  // bit 1 << Op
  uint64_t begin = 0;
  uint64_t end = UINT64_MAX;
  uint64_t after = 0;           // this many of them pass first
  uint64_t count = UINT64_MAX;  // then at most this many fail

  // The faults. Rates are probabilities.
  double error_rate = 0;
  double short_rate = 0;  // a random prefix is moved before the request fails
  int error = EIO;
  std::chrono::nanoseconds delay{0};
  double delay_rate = 1;

  // The write cache and the power cut, which counts all requests.
  bool volatile_cache = false;
  bool torn = false;
  bool fua = true;
  uint64_t cache_bytes = 64 << 20;
  uint64_t power_cut_after = UINT64_MAX;

  uint64_t seed = 0;

  bool includes(const Request& request) const;
  // True if the options depend on the seed.
  bool random() const;
};

// Reads the options of a Spec; without `seed` a random one is chosen. EINVAL, with the expected
// form, for an invalid rate, duration, errno or operation.
Result<FaultOptions> read_fault_options(const Spec& spec);

}  // namespace sluice
