#include "conformance/serves_with.hpp"

namespace sluice::test {

BadName bad_name(size_t index, const Request& request) {
  const uint16_t tag = request.tag;
  const auto length = static_cast<uint32_t>(request.length);
  const auto idle = static_cast<uint16_t>(tag == 0 ? 1 : 0);
  const std::array<BadName, kBadNameErrors.size() - 1> names{{
      {.at = {.queue = 1, .tag = tag}, .length = length},
      {.at = {.queue = 0, .tag = 4000}, .length = length},
      {.at = {.queue = 0, .tag = idle}, .length = length},
      {.at = {.queue = 0, .tag = tag}, .length = 0},
      {.at = {.queue = 0, .tag = tag, .offset = length}, .length = 1},
      {.at = {.queue = 0, .tag = tag, .offset = 4096}, .length = length},
      {.at = {.queue = 0, .tag = tag, .offset = 4096}, .length = UINT32_MAX},
  }};
  return names.at(index);
}

}  // namespace sluice::test
