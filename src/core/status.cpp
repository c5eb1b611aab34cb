#include "core/status.hpp"

#include <exception>

#include "core/log.hpp"

namespace sluice {

Status status_of_exception() noexcept {
  try {
    throw;
  } catch (const std::exception& thrown) {
    log().error("a request failed by an exception: {}", thrown.what());
  } catch (...) {
    log().error("a request failed by an exception");
  }
  return Status::from_errno(EIO);
}

}  // namespace sluice
