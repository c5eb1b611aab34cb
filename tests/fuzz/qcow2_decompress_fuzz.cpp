// Reads any bytes as a compressed cluster, whose type and size are in the first byte: it fills the
// cluster and nothing else, with the same bytes each time, or is refused.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

#include "target/qcow2/decompress.hpp"

namespace {

using sluice::qcow2::Compression;

constexpr size_t kGuardBytes = 64;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "qcow2_decompress_fuzz: %s\n", what);
  std::abort();
}

struct Outcome {
  sluice::Status status;
  std::vector<std::byte> cluster;
};

// Into memory that has `fill` everywhere.
Outcome decompress(Compression type, std::span<const std::byte> stream, size_t cluster_bytes,
                   std::byte fill) {
  std::vector<std::byte> memory(cluster_bytes + kGuardBytes, fill);
  const auto cluster = std::span(memory).first(cluster_bytes);
  const sluice::Status status = sluice::qcow2::decompress(type, stream, cluster);
  const auto guard = std::span(memory).subspan(cluster_bytes);
  require(std::ranges::count(guard, fill) == kGuardBytes, "it writes beyond the cluster");
  require(status.ok() || status.error() == EIO, "another error than EIO");
  memory.resize(cluster_bytes);
  return {status, std::move(memory)};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto type = (data[0] & 1) != 0 ? Compression::zstd : Compression::zlib;
  if (!sluice::qcow2::load_decompressor(type)) return 0;
  const size_t cluster_bytes = size_t{512} << (data[0] >> 1) % 13;
  // Two clusters at most, as a descriptor can say.
  const auto input = std::as_bytes(std::span(data, size)).subspan(1);
  const auto stream = input.first(std::min(input.size(), 2 * cluster_bytes));

  const Outcome once = decompress(type, stream, cluster_bytes, std::byte{0});
  const Outcome again = decompress(type, stream, cluster_bytes, std::byte{0xff});
  require(once.status == again.status, "another outcome at the second time");
  if (once.status.ok()) {
    require(std::ranges::equal(once.cluster, again.cluster), "a part is not filled");
    std::vector<std::byte> longer(stream.begin(), stream.end());
    longer.resize(stream.size() + 512, std::byte{0xa5});
    const Outcome third = decompress(type, longer, cluster_bytes, std::byte{0});
    // A deflate stream that was cut off when the cluster was full may seem damaged now.
    require(third.status.ok() || type == Compression::zlib, "what follows the stream matters");
    require(!third.status.ok() || std::ranges::equal(once.cluster, third.cluster),
            "what follows the stream gets into the cluster");
  }
  return 0;
}
