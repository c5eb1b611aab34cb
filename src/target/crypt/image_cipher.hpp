// The guest data of an image of QEMU that is encrypted as a whole: what enciphers it on its way to
// the image's storage, with the LUKS header in the image and the key by the options of a spec.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/error.hpp"
#include "spec/spec.hpp"
#include "target/open_context.hpp"
#include "target/target.hpp"

namespace sluice::crypt {

// Where the LUKS header is in the storage.
struct HeaderPlace {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// Offsets of the returned target are those of the storage, which it does not own, and which grows
// by itself: nothing ends here. The numbers of sectors count from the beginning of the storage.
// Adds a private file, for the next server, and takes that of the server before. `name`: for
// messages. EOPNOTSUPP: it is no LUKS1 header, or one that is not served; and what Volume::unlock()
// says.
Result<std::unique_ptr<Target>> open_image_cipher(const Spec& spec, OpenContext& context,
                                                  Target& storage, const HeaderPlace& header,
                                                  const std::string& name);

}  // namespace sluice::crypt
