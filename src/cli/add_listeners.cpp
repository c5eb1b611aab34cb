// Where the clients of a front end connect: --listen, or sockets that come from elsewhere.
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>

#include "cli/add_options.hpp"
#include "daemon/caller.hpp"
#include "frontend/registry.hpp"

namespace sluice::cli {
namespace {

const FrontendOption* option_of_listeners(const FrontendType* type) {
  if (type == nullptr) return nullptr;
  const auto found =
      std::ranges::find(type->options, FrontendOption::Kind::listeners, &FrontendOption::kind);
  return found == type->options.end() ? nullptr : &*found;
}

bool listens(int descriptor) {
  int value = 0;
  socklen_t length = sizeof(value);
  return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value != 0;
}

}  // namespace

const FrontendType* type_for(std::span<const int> passed) {
  if (std::ranges::none_of(passed, listens)) return nullptr;
  for (const FrontendType* const type : frontend_types()) {
    if (option_of_listeners(type) != nullptr) return type;
  }
  return nullptr;
}

Outcome<void> read_listeners(const CommandLine& line, std::span<const int> passed,
                             AddRequest& request) {
  FrontendOptions& frontend = request.serve.frontend;
  const FrontendOption* const option = option_of_listeners(frontend.type);
  if (option == nullptr) return {};
  const std::string shown = line.find(option->name)->shown();
  const std::vector<int> files = named_descriptors(request.serve.spec);
  std::vector<int> sockets;
  for (const int each : passed) {
    if (std::ranges::find(files, each) == files.end()) sockets.push_back(each);
  }
  if (sockets.empty()) {
    if (line.has(option->name)) return {};
    frontend.private_socket = !request.run.empty();
    if (frontend.private_socket) return {};
    return usage(fmt::format("front end '{}' needs {} {}: {}", frontend.type->name, shown,
                             option->value, option->required));
  }
  if (line.has(option->name)) {
    return usage(
        fmt::format("this process was passed sockets where clients connect (LISTEN_FDS), "
                    "and {} names others: leave one of them out",
                    shown));
  }
  if (!request.serve.foreground) {
    return usage(
        "this process was passed sockets where clients connect (LISTEN_FDS): it serves "
        "them with --foreground");
  }
  frontend.sockets = std::move(sockets);
  return {};
}

}  // namespace sluice::cli
