#include "frontend/handover.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstring>

namespace sluice {

Result<Handover> duplicate(const Handover& handover) {
  Handover copy{.state = handover.state, .descriptors = {}};
  for (const Descriptor& descriptor : handover.descriptors) {
    copy.descriptors.emplace_back(fcntl(descriptor.number(), F_DUPFD_CLOEXEC, 0));
    if (copy.descriptors.back().valid()) continue;
    return fail(errno, fmt::format("cannot duplicate a descriptor: {}", std::strerror(errno)));
  }
  return copy;
}

}  // namespace sluice
