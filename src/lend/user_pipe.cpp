#include "lend/user_pipe.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>

#include <array>
#include <cstring>

#include "ring/pipe_pool.hpp"

namespace sluice::lend {

Result<UserPipe> UserPipe::make() {
  auto made = PipePool::make_pipe(kSlots * kSlotBytes);
  if (!made) return std::unexpected(made.error());
  return UserPipe(std::move(*made));
}

Result<void> UserPipe::grow(uint32_t bytes) {
  if (fcntl(pipe_.write_end.number(), F_SETPIPE_SZ, bytes) >= 0) return {};
  return fail(errno, fmt::format("cannot make a pipe {} bytes large: {}; see "
                                 "/proc/sys/fs/pipe-max-size",
                                 bytes, std::strerror(errno)));
}

uint32_t UserPipe::capacity_bytes() const {
  return static_cast<uint32_t>(fcntl(pipe_.write_end.number(), F_GETPIPE_SZ));
}

uint32_t UserPipe::held_bytes() const {
  int held = 0;
  ioctl(pipe_.read_end.number(), FIONREAD, &held);
  return static_cast<uint32_t>(held);
}

void UserPipe::clear() {
  std::array<std::byte, kSlotBytes> thrown;
  while (read(pipe_.read_end.number(), thrown.data(), thrown.size()) > 0) {
  }
}

}  // namespace sluice::lend
