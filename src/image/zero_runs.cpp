#include "image/zero_runs.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace sluice::image {
namespace {

// Of this many bytes the compiler makes vector instructions without a branch.
constexpr size_t kStride = 256;

bool is_zero_stride(const std::byte* bytes) {
  uint64_t any = 0;
  for (size_t i = 0; i < kStride; i += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + i, sizeof(word));
    any |= word;
  }
  return any == 0;
}

}  // namespace

bool is_zero(std::span<const std::byte> bytes) {
  // Most of what is not zero shows it at once.
  const size_t first = std::min<size_t>(bytes.size(), sizeof(uint64_t));
  for (size_t i = 0; i < first; ++i) {
    if (bytes[i] != std::byte{0}) return false;
  }
  const size_t whole = bytes.size() / kStride * kStride;
  for (size_t i = 0; i < whole; i += kStride) {
    if (!is_zero_stride(bytes.data() + i)) return false;
  }
  return std::ranges::all_of(bytes.subspan(whole),
                             [](std::byte each) { return each == std::byte{0}; });
}

ZeroRun first_zero_run(std::span<const std::byte> bytes, size_t grain_bytes) {
  const auto grain_at = [&](size_t at) {
    return bytes.subspan(at, std::min(grain_bytes, bytes.size() - at));
  };
  ZeroRun run{.zero = is_zero(grain_at(0))};
  size_t at = grain_at(0).size();
  while (at < bytes.size() && is_zero(grain_at(at)) == run.zero) at += grain_at(at).size();
  run.length = at;
  return run;
}

}  // namespace sluice::image
