#include "conformance/serves_with.hpp"

namespace sluice::test {

std::array<BadName, kBadNames> bad_names(const Request& request) {
  const uint16_t tag = request.tag;
  const auto length = static_cast<uint32_t>(request.length);
  const auto other_tag = static_cast<uint16_t>(tag == 0 ? 1 : 0);
  return {{
      {.at = {.queue = 1, .tag = tag}, .length = length, .error = EINVAL},
      {.at = {.queue = 0, .tag = 4000}, .length = length, .error = EINVAL},
      {.at = {.queue = 0, .tag = other_tag}, .length = length, .error = EINVAL},  // idle
      {.at = {.queue = 0, .tag = tag}, .length = 0, .error = EINVAL},
      {.at = {.queue = 0, .tag = tag, .offset = length}, .length = 1, .error = EFAULT},
      {.at = {.queue = 0, .tag = tag, .offset = 4096}, .length = length, .error = EFAULT},
      {.at = {.queue = 0, .tag = tag, .offset = 4096}, .length = UINT32_MAX, .error = EFAULT},
  }};
}

}  // namespace sluice::test
