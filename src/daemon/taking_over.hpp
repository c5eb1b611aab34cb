// OldServer: the requests of a new server to the server that it replaces. handing_over.hpp is the
// other side.
//
// Used by the control thread of the new server.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/error.hpp"
#include "daemon/device.hpp"

namespace sluice {

struct OldServer {
  uint32_t id = 0;      // of the device
  std::string manager;  // its manager_socket(), see notify.hpp
  std::optional<DeviceRecord> first_release =
      {};  // its record, if it is of that: see version_0.hpp

  // Returns everything that is needed to prepare, while the old server goes on. EOPNOTSUPP: it
  // cannot hand the device over.
  Result<DeviceOffer> begin();
  // Makes the old server take no new requests, and returns once it has none in flight.
  Result<DeviceHandover> let_go();
  // Tells the old server that the device is served here, and that it may end.
  Result<void> commit() const;
  // Tells the old server to go on, because this one cannot serve: `why`. Returns the Error to
  // report.
  Error give_back(const Error& why) const;
};

}  // namespace sluice
