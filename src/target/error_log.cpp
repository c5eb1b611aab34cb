#include "target/error_log.hpp"

#include <cstring>

#include "core/log.hpp"

namespace sluice {

void ErrorLog::report(const Request& request, int error, std::string_view meaning) {
  if (counts_[index_of(error)].fetch_add(1, std::memory_order_relaxed) != 0) return;
  log().error("{}: {} of {} bytes at {} failed: {} (more of the kind will be counted)", name_,
              to_string(request.op), request.length, request.offset,
              meaning.empty() ? std::string_view(std::strerror(error)) : meaning);
}

ErrorLog::~ErrorLog() {
  for (size_t error = 0; error < kErrnoCount; ++error) {
    const uint64_t count = counts_[error].load(std::memory_order_relaxed);
    if (count < 2) continue;
    log().warn("{}: {} requests failed with '{}' while it was open", name_, count,
               std::strerror(static_cast<int>(error)));
  }
}

}  // namespace sluice
