#include "core/passing.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace sluice {
namespace {

constexpr size_t kControlBytes = CMSG_SPACE(kPassedAtOnce * sizeof(int));

}  // namespace

ssize_t send_passing(int socket, std::string_view bytes, std::span<const int> descriptors,
                     int flags) {
  if (descriptors.size() > kPassedAtOnce) {
    errno = E2BIG;
    return -1;
  }
  alignas(cmsghdr) std::array<char, kControlBytes> control{};
  iovec data{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  return sendmsg(socket, &message, flags | MSG_NOSIGNAL);
}

ssize_t receive_passed(int socket, std::span<char> place, std::vector<Descriptor>& descriptors,
                       int flags) {
  alignas(cmsghdr) std::array<char, kControlBytes> control;
  iovec data{.iov_base = place.data(), .iov_len = place.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t count = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  if (count < 0) return count;
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr;
       each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    const size_t found = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < found; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(each) + i * sizeof(int), sizeof(number));
      descriptors.emplace_back(number);
    }
  }
  return count;
}

std::vector<int> numbers_of(std::span<const Descriptor> descriptors) {
  std::vector<int> numbers;
  for (const Descriptor& each : descriptors) numbers.push_back(each.number());
  return numbers;
}

}  // namespace sluice
