#include "target/qcow2/offline/open_metadata.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "spec/shown.hpp"
#include "target/open_context.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/qcow2_target.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint64_t kMetadataCacheBytes = 1 << 20;

}  // namespace

Result<std::unique_ptr<Stack>> open_metadata(const std::string& path) {
  Spec file{.target = "loop"};
  file.set("file", path);
  file.set("block", uint64_t{512});
  file.set("buffered_io", true);
  OpenContext context(/*read_only=*/false);
  context.set_opens_image(true);
  auto storage = context.open(file);
  if (!storage) return std::unexpected(storage.error());
  const auto bare = (*storage)->bare_file();
  if (!bare || bare->begin_bytes != 0) {
    return fail(EINVAL, fmt::format("{} is not a file", shown(path)));
  }
  auto header = read_image_header(bare->descriptor);
  if (!header)
    return fail(header.error().error, fmt::format("{}: {}", shown(path), header.error().text));
  auto target = std::make_unique<Qcow2Target>(
      Image::Options{.name = path, .writable = true, .cache_bytes = kMetadataCacheBytes}, *header,
      Qcow2Target::Parts{.storage = std::move(*storage), .data = {}, .backing = {}});
  target->set_name(fmt::format("qcow2({})", shown(path)));
  return std::make_unique<Stack>(std::move(target));
}

}  // namespace sluice::qcow2
