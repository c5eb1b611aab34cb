// `sluice create`.
#include "cli/command.hpp"
#include "cli/image/create_options.hpp"
#include "cli/image/new_image.hpp"

namespace sluice::cli {
namespace {

Outcome<void> create(const CommandLine& line, const Streams&) {
  auto request = read_create_request(line);
  if (!request) return std::unexpected(request.error());
  NewImage image;
  if (auto made = image.make(*request); !made) return made;
  image.keep();
  return {};
}

}  // namespace

constinit const Command kCreateCommand = {
    .name = "create",
    .synopsis =
        "[-f raw] [-o preallocation=MODE] [--force] --size SIZE FILE\n"
        "-f qcow2 [-o NAME=VALUE,...] [-b FILE -F FORMAT] [--force] [--size SIZE] FILE",
    .summary = "Make an empty image file.",
    .declare = declare_create,
    .run = create,
    .has_state = false};

}  // namespace sluice::cli
