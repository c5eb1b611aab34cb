// Target nbd.
#include <fcntl.h>
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "core/descriptor.hpp"
#include "spec/shown.hpp"
#include "target/nbd/nbd_target.hpp"
#include "target/nbd/options.hpp"
#include "target/open.hpp"

namespace sluice {
namespace {

using nbd::client::NbdTarget;
using nbd::client::Options;

constexpr uint32_t kConnectionsMax = 16;

constexpr OptionSyntax kOptions[] = {
    {.name = "uri",
     .help = "the export, such as nbd://HOST/EXPORT; several servers: separated by blanks",
     .list = true},
    {.name = "host", .help = "the server, in place of a URI"},
    {.name = "port",
     .kind = OptionKind::count,
     .fallback = "10809",
     .minimum = 1,
     .maximum = UINT16_MAX,
     .help = "its port"},
    {.name = "unix", .kind = OptionKind::path, .help = "the server's socket, in place of a URI"},
    {.name = "export_name", .help = "the export, with host or unix"},
    {.name = "connections",
     .kind = OptionKind::count,
     .fallback = "1",
     .minimum = 1,
     .maximum = kConnectionsMax,
     .help = "connections of each queue, if the server allows several"},
    {.name = "reconnect",
     .fallback = "60s",
     .help = "how long requests wait for a lost server before they fail"},
    {.name = "timeout", .fallback = "30s", .help = "the time for the answer to one request"},
    {.name = "fence", .fallback = "0", .help = "the wait before writes are repeated"},
    {.name = "reconnect-trust",
     .fallback = "nothing",
     .help = "process: the server's machine keeps what was not flushed"},
    {.name = "send_zc", .kind = OptionKind::flag, .help = "send over TCP without a copy"},
};

constexpr auto kSchemes = std::to_array<std::string_view>(
    {"nbd", "nbds", "nbd+unix", "nbds+unix", "nbd+vsock", "nbds+vsock"});

// The sockets of servers are found below these directories, in whatever mount namespace.
Result<std::vector<int>> open_directories(const Options& options, OpenContext& context) {
  std::vector<int> directories;
  for (const auto& server : options.servers) {
    const std::string path = directory_of_socket(server);
    if (path.empty()) continue;
    Descriptor directory = context.inherits()
                               ? context.inherit()
                               : Descriptor(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid()) {
      return fail(errno, fmt::format("cannot open {}, the directory of the socket of {}: {}",
                                     shown(path), server.text, std::strerror(errno)));
    }
    directories.push_back(directory.number());
    context.add_private_file(directory.release());
  }
  return directories;
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): all open functions are of one type
Result<std::unique_ptr<Target>> open(const Spec& spec, Target::Children&&, OpenContext& context) {
  auto options = nbd::client::read_options(spec);
  if (!options) return std::unexpected(options.error());
  const auto directories = open_directories(*options, context);
  if (!directories) return std::unexpected(directories.error());
  if (auto resolved = nbd::client::resolve(*options, *directories); !resolved) {
    return std::unexpected(resolved.error());
  }
  if (auto loaded = nbd::client::load_credentials(*options); !loaded) {
    return std::unexpected(loaded.error());
  }
  options->to_the_byte = context.to_the_byte();
  return std::make_unique<NbdTarget>(std::move(*options), context.read_only());
}

}  // namespace

constinit const TargetType kNbdTarget = {
    .syntax =
        {
            .name = "nbd",
            .summary = "an export of an NBD server",
            .leaf_option = "uri",
            .options = kOptions,
            .schemes = kSchemes,
        },
    .open = open,
};

}  // namespace sluice
