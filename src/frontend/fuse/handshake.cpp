#include "frontend/fuse/handshake.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/page.hpp"
#include "frontend/fuse/call.hpp"

namespace sluice::fuse {
namespace {

constexpr int kTimeoutMs = 10'000;
constexpr uint32_t kMinorNeeded = 28;  // max_pages; Linux 4.20
constexpr uint32_t kMinorSpoken = 38;
constexpr size_t kReadBytes = 1024 * 1024;  // the smallest buffer that all kernels accept

Result<size_t> read_one(int device, std::span<std::byte> place) {
  while (true) {
    pollfd ready{.fd = device, .events = POLLIN, .revents = 0};
    const int found = poll(&ready, 1, kTimeoutMs);
    if (found == 0) {
      return fail(ETIMEDOUT, fmt::format("the kernel's FUSE sent nothing within {} ms of the mount",
                                         kTimeoutMs));
    }
    const ssize_t length = read(device, place.data(), place.size());
    if (length >= 0) return static_cast<size_t>(length);
    if (errno != EINTR && errno != EAGAIN) {
      return fail(errno, fmt::format("cannot read from /dev/fuse: {}", std::strerror(errno)));
    }
  }
}

}  // namespace

Result<KernelOffer> receive_offer(int device) {
  std::vector<std::byte> place(kReadBytes);
  auto length = read_one(device, place);
  if (!length) return std::unexpected(length.error());
  const auto call = parse_call(std::span(place).first(*length));
  if (!call || call->header.opcode != FUSE_INIT) {
    return fail(EPROTO, "the kernel's FUSE did not begin with INIT");
  }
  fuse_init_in init{};  // older kernels send a shorter one
  const auto arguments = call->arguments.first(std::min(call->arguments.size(), sizeof(init)));
  std::memcpy(&init, arguments.data(), arguments.size());
  if (init.major != FUSE_KERNEL_VERSION || init.minor < kMinorNeeded) {
    return fail(EPROTO, fmt::format("this kernel speaks FUSE {}.{}, and {}.{} is needed (Linux "
                                    "4.20)",
                                    init.major, init.minor, FUSE_KERNEL_VERSION, kMinorNeeded));
  }
  uint64_t flags = init.flags;
  if ((init.flags & FUSE_INIT_EXT) != 0) flags |= uint64_t{init.flags2} << 32;
  return KernelOffer{.unique = call->header.unique,
                     .minor = init.minor,
                     .max_readahead = init.max_readahead,
                     .flags = flags};
}

abi::InitOut make_answer(const KernelOffer& offer, const Agreement& agreement, uint32_t requests) {
  // Asynchronous and parallel where possible. No write-back cache: a program's data has reached the
  // server when write() returns.
  uint64_t flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
                   FUSE_MAX_PAGES | FUSE_INIT_EXT | abi::kDirectIoAllowMmap;
  abi::InitOut answer{};
  if (agreement.path == DataPath::passthrough) {
    flags |= abi::kPassthrough;
    answer.max_stack_depth = agreement.stack_depth;
  }
  if (is_over_uring(agreement.path)) flags |= abi::kOverIoUring;
  if (agreement.path == DataPath::splice) {
    flags |= FUSE_SPLICE_READ | FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE;
  }
  flags &= offer.flags;
  answer.major = FUSE_KERNEL_VERSION;
  answer.minor = std::min(offer.minor, kMinorSpoken);
  answer.max_readahead = offer.max_readahead;
  answer.flags = static_cast<uint32_t>(flags);
  answer.flags2 = static_cast<uint32_t>(flags >> 32);
  answer.max_background = static_cast<uint16_t>(std::clamp(requests, 16U, 65535U));
  answer.congestion_threshold = static_cast<uint16_t>(answer.max_background / 4 * 3);
  answer.max_write = agreement.max_io_bytes;
  answer.max_pages = static_cast<uint16_t>(agreement.max_io_bytes / kPageBytes);
  answer.time_granularity = 1;
  return answer;
}

Result<void> send_answer(int device, const KernelOffer& offer, const abi::InitOut& answer) {
  struct {
    fuse_out_header header;
    abi::InitOut body;
  } message{.header = {.len = sizeof(message), .error = 0, .unique = offer.unique}, .body = answer};
  if (write(device, &message, sizeof(message)) == sizeof(message)) return {};
  return fail(errno,
              fmt::format("the kernel's FUSE refused the reply to INIT: {}", std::strerror(errno)));
}

}  // namespace sluice::fuse
