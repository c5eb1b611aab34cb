#include "target/qcow2/read_header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "spec/shown.hpp"
#include "target/qcow2/storage_bytes.hpp"

namespace sluice::qcow2 {

Result<Header> read_header(Target& storage, const std::string& path, OpenContext& context) {
  StorageBytes bytes(storage);
  std::vector<std::byte> start(512);
  const auto read = [&](Request& request) { return bytes.read(request, 0, start); };
  Status status = context.perform(read);
  if (status.ok()) {
    const auto needed = header_bytes_needed(start);
    if (!needed) return refuse_image(path, needed.error());
    start.resize(std::max<uint64_t>(*needed, 512));
    status = context.perform(read);
  }
  if (!status.ok()) {
    return fail(status.error(), fmt::format("cannot read the header of {}", shown(path)));
  }
  auto header = parse_header(start, bytes.exact_size());
  if (!header) return refuse_image(path, header.error());
  return header;
}

std::unexpected<Error> refuse_image(const std::string& path, const Error& why) {
  return fail(why.error, path.empty() ? why.text : fmt::format("{}: {}", shown(path), why.text));
}

}  // namespace sluice::qcow2
