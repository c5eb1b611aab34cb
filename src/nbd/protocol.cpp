#include "nbd/protocol.hpp"

#include <algorithm>
#include <cerrno>

namespace sluice::nbd {
namespace {

constexpr int kErrors[] = {EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, EOPNOTSUPP, ESHUTDOWN};

bool is_known(int error) { return std::ranges::find(kErrors, error) != std::end(kErrors); }

}  // namespace

uint32_t to_wire_error(int error) {
  if (error == 0 || is_known(error)) return static_cast<uint32_t>(error);
  switch (error) {
    case EROFS:
    case EACCES:
      return EPERM;
    case EDQUOT:
    case EFBIG:
      return ENOSPC;
    case ENOSYS:
      return EOPNOTSUPP;
    default:
      return EIO;
  }
}

int from_wire_error(uint32_t error) {
  const int number = static_cast<int>(error);
  return error == 0 || is_known(number) ? number : EINVAL;
}

}  // namespace sluice::nbd
