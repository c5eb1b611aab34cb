#include "target/qcow2/offline/set_backing.hpp"

#include <algorithm>

#include "target/qcow2/backing_name.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::qcow2 {

Result<void> set_backing(int descriptor, const std::string& name, const std::string& format) {
  const auto header = read_image_header(descriptor);
  if (!header) return std::unexpected(header.error());
  const auto start = read_image(descriptor, 0, std::max<uint64_t>(header->cluster_bytes(), 512));
  if (!start) return std::unexpected(start.error());
  const auto writes = plan_backing(*start, name, format);
  if (!writes) return std::unexpected(writes.error());
  for (const HeaderWrite& write : *writes) {
    if (auto done = write_image(descriptor, write.place, write.bytes); !done) return done;
    if (auto done = sync_image(descriptor); !done) return done;
  }
  return {};
}

}  // namespace sluice::qcow2
