// `sluice thin restore`.
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "cli/thin/thin.hpp"
#include "image/metadata_writer.hpp"
#include "image/pool_restore.hpp"
#include "image/pool_xml.hpp"
#include "spec/shown.hpp"

namespace sluice::cli {
Outcome<void> restore_pool(const CommandLine& line, const Streams& streams) {
  std::ifstream file;
  const std::string name = line.text("input");
  if (line.has("input")) {
    file.open(name);
    if (!file) return failed(fmt::format("cannot read {}: {}", shown(name), std::strerror(errno)));
  }
  const auto disk = open_thin_disk(line, thin_words(line)[0], ThinAccess::write);
  if (!disk) return std::unexpected(disk.error());
  if (auto checked = check_is_unused(line, **disk); !checked) return checked;
  image::MetadataReader reader(**disk);
  image::MetadataWriter writer(**disk, reader);
  image::PoolRestore restore(reader, writer);
  auto done = image::read_pool_xml(line.has("input") ? file : streams.in, restore);
  if (done) done = restore.end();
  if (!done) {
    return failed(fmt::format("{} is not restored to {}: {}",
                              line.has("input") ? shown(name) : "the input", shown((*disk)->name()),
                              done.error().text));
  }
  return {};
}

}  // namespace sluice::cli
