// FaultOptions: what a fault target is told to do wrong, checked and in units a program can use.
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
  // Which requests are meant. A range other than everything leaves out flushes.
  uint32_t ops = ~0U;  // bit 1 << Op
  uint64_t begin = 0;
  uint64_t end = UINT64_MAX;
  uint64_t after = 0;           // that many of them pass first
  uint64_t count = UINT64_MAX;  // then at most that many fail

  // What happens to them. Rates are probabilities.
  double error_rate = 0;
  double short_rate = 0;  // a random prefix is moved before it fails
  int error = EIO;
  std::chrono::nanoseconds delay{0};
  double delay_rate = 1;

  // The write cache, and its end. The cut counts all requests.
  bool volatile_cache = false;
  bool torn = false;
  bool fua = true;
  uint64_t cache_bytes = 64 << 20;
  uint64_t power_cut_after = UINT64_MAX;

  uint64_t seed = 0;

  bool includes(const Request& request) const;
  // Whether the seed makes a difference.
  bool random() const;
};

// The options of a Spec; `seed` is chosen by itself where none is given. EINVAL with what was
// expected for a rate, duration, errno or operation that cannot be read.
Result<FaultOptions> read_fault_options(const Spec& spec);

}  // namespace sluice
