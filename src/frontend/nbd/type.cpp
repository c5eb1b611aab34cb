// kNbdFrontend: an export for NBD clients, on sockets.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "frontend/nbd/export.hpp"
#include "frontend/nbd/passed_socket.hpp"
#include "frontend/nbd/private_socket.hpp"
#include "frontend/types.hpp"
#include "spec/shown.hpp"

namespace sluice {
namespace nbd {
namespace {

constexpr FrontendOption kOptions[] = {
    {.name = "listen",
     .kind = FrontendOption::Kind::listeners,
     .value = "ADDRESS",
     .help = "with nbd: unix:PATH, tcp:HOST:PORT or vsock:PORT; may be repeated",
     .required = "the address where clients connect, such as unix:/run/disk.sock"},
    {.name = "export",
     .kind = FrontendOption::Kind::text,
     .value = "NAME",
     .help = "with nbd: the name of the export (default: empty)"},
    {.name = "description",
     .kind = FrontendOption::Kind::text,
     .value = "TEXT",
     .help = "with nbd: a description of the export, for clients that list them"},
    {.name = "allow",
     .kind = FrontendOption::Kind::addresses,
     .value = "NETWORK",
     .help = "with nbd: serve TCP clients of this network only; may be repeated"},
    {.name = "shared",
     .kind = FrontendOption::Kind::text,
     .value = "COUNT",
     .help = "with nbd: clients at a time (default: as many as fit)"},
    {.name = "exit_after_last", .help = "with nbd: end when the last client has gone"},
    {.name = "tls",
     .kind = FrontendOption::Kind::text,
     .value = "WHEN",
     .help = "with nbd: off, on or require (default: require with a key)"},
    {.name = "tls-certificates",
     .kind = FrontendOption::Kind::path,
     .value = "DIRECTORY",
     .help = "with nbd: server-cert.pem and server-key.pem are there"},
    {.name = "tls-psk",
     .kind = FrontendOption::Kind::path,
     .value = "FILE",
     .help = "with nbd: keys shared with clients, in lines of NAME:KEY"},
    {.name = "tls-verify-peer",
     .help = "with nbd: clients need a certificate of the authority in ca-cert.pem"},
};

constexpr FrontendTrace kTraces[] = {{.name = kSocketFiles, .kind = OptionKind::text}};

constexpr std::array<std::string_view, 1> kModes = {"copy"};

// The values of --listen, each on a line.
Result<std::vector<ListenAddress>> parse_addresses(std::string_view lines) {
  std::vector<ListenAddress> addresses;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    auto address = ListenAddress::parse(line);
    if (!address) return std::unexpected(address.error());
    addresses.push_back(std::move(*address));
  }
  return addresses;
}

Result<std::vector<ListenAddress>> find_addresses(const FrontendOptions& options) {
  if (options.private_socket) {
    return std::vector{ListenAddress{.transport = Transport::unix_socket, .is_private = true}};
  }
  if (options.sockets.empty()) return parse_addresses(options.own.text("listen"));
  std::vector<ListenAddress> addresses;
  for (const int each : options.sockets) {
    auto address = address_of(each);
    if (!address) return std::unexpected(address.error());
    addresses.push_back(std::move(*address));
  }
  return addresses;
}

Result<void> check_text(const FrontendOptions& options, std::string_view name) {
  const std::string text = options.own.text(name);
  if (text.size() > kStringBytesMax) {
    return fail(EINVAL, fmt::format("--{} has {} bytes: {} are the limit of the protocol", name,
                                    text.size(), kStringBytesMax));
  }
  if (!is_utf8(text)) return fail(EINVAL, fmt::format("--{} is not UTF-8", name));
  return {};
}

Result<size_t> read_clients(const NamedValues& options) {
  if (!options.has("shared")) return SIZE_MAX;
  const std::string text = options.text("shared");
  size_t count = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), count);
  if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && count != 0) {
    return count;
  }
  return fail(EINVAL,
              fmt::format("--shared is {}: give a number of clients, at least 1", shown(text)));
}

// How clients may connect. EINVAL: options that contradict each other.
Result<TlsPolicy> read_policy(const NamedValues& options) {
  const bool has_key = options.has("tls-psk") || options.has("tls-certificates");
  const std::string when = options.has("tls") ? options.text("tls") : has_key ? "require" : "off";
  if (options.has("tls-psk") && options.has("tls-certificates")) {
    return fail(EINVAL, "--tls-psk and --tls-certificates are two kinds of TLS: give one of them");
  }
  if (options.flag("tls-verify-peer") && !options.has("tls-certificates")) {
    return fail(EINVAL, "--tls-verify-peer needs --tls-certificates with ca-cert.pem");
  }
  if (when == "off") {
    if (!has_key) return TlsPolicy::none;
    return fail(EINVAL, "--tls off does not go with certificates or keys: leave one of them out");
  }
  if (when != "on" && when != "require") {
    return fail(EINVAL, fmt::format("--tls is {}: give off, on or require", shown(when)));
  }
  if (!has_key) {
    return fail(EINVAL, fmt::format("--tls {} needs --tls-certificates or --tls-psk", when));
  }
  return when == "on" ? TlsPolicy::offered : TlsPolicy::required;
}

Result<void> check_options(FrontendOptions& options) {
  if (auto policy = read_policy(options.own); !policy) return std::unexpected(policy.error());
  for (const std::string_view name : {"export", "description"}) {
    if (auto checked = check_text(options, name); !checked) return checked;
  }
  if (options.own.has("allow") && options.own.text("allow").empty()) {
    return fail(EINVAL, "--allow is empty: give an IP address or a network, such as 10.0.0.0/8");
  }
  if (auto allowed = AccessList::parse(options.own.text("allow")); !allowed) {
    return std::unexpected(allowed.error());
  }
  if (auto clients = read_clients(options.own); !clients) return std::unexpected(clients.error());
  auto addresses = parse_addresses(options.own.text("listen"));
  return addresses ? Result<void>() : std::unexpected(addresses.error());
}

class Plan final : public FrontendPlan {
 public:
  Plan(Stack& stack, ExportOptions options) : stack_(stack), options_(std::move(options)) {}

  Result<std::unique_ptr<Frontend>> make(uint32_t /*id*/) override {
    return NbdExport::make(stack_, std::move(options_));
  }

 private:
  Stack& stack_;
  ExportOptions options_;
};

Result<std::unique_ptr<FrontendPlan>> plan(Stack& stack, const FrontendOptions& options) {
  if (stack.disks().size() > 1 && options.own.has("export")) {
    return fail(EINVAL, "--export names one export, but this server has several with their names");
  }
  auto addresses = find_addresses(options);
  if (!addresses) return std::unexpected(addresses.error());
  const auto policy = read_policy(options.own);
  if (!policy) return std::unexpected(policy.error());
  ExportOptions plan{.addresses = std::move(*addresses),
                     .name = options.own.text("export"),
                     .description = options.own.text("description"),
                     .queues = options.queues,
                     .depth = options.depth,
                     .allowed = *AccessList::parse(options.own.text("allow")),
                     .clients = *read_clients(options.own),
                     .until_deserted = options.own.flag("exit_after_last"),
                     .loses_rights = !options.user.empty(),
                     .tls = *policy};
  if (*policy != TlsPolicy::none) {
    plan.tls_files = {.certificates = options.own.text("tls-certificates"),
                      .psk_file = options.own.text("tls-psk"),
                      .verify_peer = options.own.flag("tls-verify-peer")};
    auto credentials = tls::Credentials::of_server(plan.tls_files);
    if (!credentials) return std::unexpected(credentials.error());
    plan.credentials = std::move(*credentials);
  }
  return std::make_unique<Plan>(stack, std::move(plan));
}

Result<std::unique_ptr<Frontend>> adopt(Stack& stack, const FrontendRecord& record,
                                        const std::string& state) {
  return NbdExport::adopt(stack, state, !record.user.empty());
}

bool has_remains(const FrontendRecord& record) {
  return !dead_socket_files(record.traces.text(kSocketFiles)).empty();
}

Result<void> clear_remains(const FrontendRecord& record, bool /*even_if_used*/) {
  for (const std::string& path : dead_socket_files(record.traces.text(kSocketFiles))) {
    if (unlink(path.c_str()) == 0 || errno == ENOENT) {
      if (const std::string around = private_directory_of(path); !around.empty()) {
        rmdir(around.c_str());
      }
      continue;
    }
    return fail(errno, fmt::format("cannot remove {}: {}", shown(path), std::strerror(errno)));
  }
  return {};
}

}  // namespace
}  // namespace nbd

constinit const FrontendType kNbdFrontend = {
    .name = "nbd",
    .options = nbd::kOptions,
    .modes = [] { return std::span<const std::string_view>(nbd::kModes); },
    .traces = nbd::kTraces,
    .max_io_bytes = kIoBytesMax,
    .is_block_device = false,
    .serves_many = true,
    .serves_bytes = true,
    .needs_no_rights = true,
    .check_options = nbd::check_options,
    .plan = nbd::plan,
    .adopt = nbd::adopt,
    .has_remains = nbd::has_remains,
    .clear_remains = nbd::clear_remains};

}  // namespace sluice
