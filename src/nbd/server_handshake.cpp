#include "nbd/server_handshake.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::nbd {
namespace {

// Contexts that one client may choose.
constexpr size_t kContextsMax = 64;

// The text is for people; the specification limits it.
void refuse(Option option, OptionReplyType type, std::string_view text, Writer& writer) {
  text = text.substr(0, kStringBytesMax);
  write_option_reply(option, type, std::as_bytes(std::span(text)), writer);
}

void accept(Option option, Writer& writer) {
  write_option_reply(option, OptionReplyType::ack, {}, writer);
}

bool wants(const ExportQuery& query, InfoType type) {
  return std::ranges::find(query.wanted, type) != query.wanted.end();
}

// A list may be asked for everything below a prefix: "base:", "qemu:dirty-bitmap:".
bool matches(std::string_view context, const std::vector<std::string>& queries, bool is_list) {
  if (is_list && queries.empty()) return true;
  return std::ranges::any_of(queries, [&](std::string_view query) {
    return context == query || (is_list && query.ends_with(':') && context.starts_with(query));
  });
}

}  // namespace

void ServerHandshake::greet(std::vector<std::byte>& output) {
  Writer writer(output);
  write_greeting(kFixedNewstyle | kNoZeroes, writer);
}

HandshakeProgress ServerHandshake::progress() const {
  return {.has_client_flags = state_ != State::client_flags,
          .fixed_newstyle = fixed_newstyle_,
          .no_zeroes = no_zeroes_,
          .headers = agreement_.headers,
          .contexts = agreement_.contexts,
          .contexts_of = contexts_of_};
}

void ServerHandshake::go_on(HandshakeProgress progress) {
  goes_on_ = true;
  state_ = progress.has_client_flags ? State::options : State::client_flags;
  fixed_newstyle_ = progress.fixed_newstyle;
  no_zeroes_ = progress.no_zeroes;
  agreement_.headers = progress.headers;
  agreement_.contexts = std::move(progress.contexts);
  contexts_of_ = std::move(progress.contexts_of);
}

size_t ServerHandshake::feed(Bytes input, std::vector<std::byte>& output) {
  size_t used = 0;
  while (state_ == State::client_flags || state_ == State::options) {
    const Bytes left = input.subspan(used);
    const size_t taken =
        state_ == State::client_flags ? take_client_flags(left) : take_option(left, output);
    if (taken == 0) break;
    used += taken;
  }
  // Plaintext that a man in the middle has put there would count as sent under TLS.
  if (state_ == State::starting_tls && used != input.size()) {
    end("the client sent more than STARTTLS before TLS has begun");
  }
  return used;
}

size_t ServerHandshake::take_client_flags(Bytes input) {
  if (input.size() < kClientFlagsBytes) return 0;
  const auto flags = Reader(input).number<uint32_t>();
  constexpr uint32_t kKnown = kFixedNewstyle | kNoZeroes;
  if ((flags & ~kKnown) != 0) {
    end(fmt::format("the client has the unknown flags {:#x}", flags & ~kKnown));
  } else {
    fixed_newstyle_ = (flags & kFixedNewstyle) != 0;
    no_zeroes_ = (flags & kNoZeroes) != 0;
    state_ = State::options;
  }
  return kClientFlagsBytes;
}

size_t ServerHandshake::take_option(Bytes input, std::vector<std::byte>& output) {
  const auto header = read_option(input);
  if (header.is_invalid()) {
    end(header.why);
    return 0;
  }
  if (!header.is_whole()) return 0;
  const auto [option, length] = *header.message;
  const size_t bytes = kOptionRequestBytes + length;
  if (bytes > kMessageBytesMax) {
    end(fmt::format("option {} has {} bytes, {} are the limit", static_cast<uint32_t>(option),
                    length, kMessageBytesMax - kOptionRequestBytes));
    return 0;
  }
  if (input.size() < bytes) return 0;
  Writer writer(output);
  handle(option, input.subspan(kOptionRequestBytes, length), writer);
  return bytes;
}

void ServerHandshake::handle(Option option, Bytes data, Writer& writer) {
  if (!fixed_newstyle_ && option != Option::export_name) {
    return end("the client sends options although it does not know fixed newstyle");
  }
  if (option == Option::abort) {
    accept(option, writer);
    return end("");
  }
  if (!check_tls(option, writer)) return;
  switch (option) {
    case Option::export_name:
      return choose_by_name(data, writer);
    case Option::list:
      return list(data, writer);
    case Option::starttls:
      return start_tls(data, writer);
    case Option::info:
    case Option::go:
      return describe(option, data, writer);
    case Option::structured_reply:
    case Option::extended_headers:
      return agree_on_headers(option, data, writer);
    case Option::list_meta_context:
    case Option::set_meta_context:
      return query_contexts(option, data, writer);
    default:
      break;
  }
  refuse(option, OptionReplyType::unsupported, "this server does not know the option", writer);
}

// False: the option has been answered.
bool ServerHandshake::check_tls(Option option, Writer& writer) {
  if (policy_ != TlsPolicy::required || tls_ || option == Option::starttls) return true;
  if (option == Option::export_name) {
    end("the client chose an export without TLS");
  } else {
    refuse(option, OptionReplyType::tls_required, "this server requires TLS", writer);
  }
  return false;
}

// The one option that cannot be refused.
void ServerHandshake::choose_by_name(Bytes data, Writer& writer) {
  if (agreement_.headers == Headers::extended) {
    return end("the client chose an export by EXPORT_NAME after extended headers");
  }
  const std::string_view name(reinterpret_cast<const char*>(data.data()), data.size());
  const Export* const chosen = name.size() > kStringBytesMax ? nullptr : find(name);
  if (chosen == nullptr) return end("the client chose an export that there is not");
  enter_transmission(*chosen);
  write_export_facts({.size = chosen->size, .flags = flags_of(*chosen)}, no_zeroes_, writer);
}

void ServerHandshake::list(Bytes data, Writer& writer) {
  if (!data.empty()) {
    return refuse(Option::list, OptionReplyType::invalid, "LIST takes no data", writer);
  }
  for (std::string& name : exports_.names()) {
    const Export* const listed = exports_.find(name);
    if (listed == nullptr) continue;
    const auto reply =
        to_bytes(ListedExport{.name = std::move(name), .description = listed->description});
    write_option_reply(Option::list, OptionReplyType::server, reply, writer);
  }
  accept(Option::list, writer);
}

void ServerHandshake::start_tls(Bytes data, Writer& writer) {
  constexpr Option kOption = Option::starttls;
  if (!data.empty()) {
    return refuse(kOption, OptionReplyType::invalid, "STARTTLS takes no data", writer);
  }
  if (tls_) return refuse(kOption, OptionReplyType::invalid, "TLS has begun already", writer);
  if (policy_ == TlsPolicy::none) {
    return refuse(kOption, OptionReplyType::policy, "this server has no TLS certificate or key",
                  writer);
  }
  accept(kOption, writer);
  state_ = State::starting_tls;
}

void ServerHandshake::tls_started() {
  tls_ = true;
  agreement_ = {};
  contexts_of_.clear();
  state_ = State::options;
}

void ServerHandshake::describe(Option option, Bytes data, Writer& writer) {
  const auto query = read_export_query(data);
  if (!query) {
    return refuse(option, OptionReplyType::invalid, "the option's data is malformed", writer);
  }
  const Export* const found = find(query->name);
  if (found == nullptr) {
    return refuse(option, OptionReplyType::unknown_export, "there is no export of this name",
                  writer);
  }
  const auto say = [&](const Info& info) {
    write_option_reply(option, OptionReplyType::info, to_bytes(info), writer);
  };
  if (option == Option::go) enter_transmission(*found);
  say({.facts = ExportFacts{.size = found->size, .flags = flags_of(*found)}});
  if (wants(*query, InfoType::name)) say({.name = found->name});
  if (wants(*query, InfoType::description) && !found->description.empty()) {
    say({.description = found->description});
  }
  if (wants(*query, InfoType::block_size)) say({.block_sizes = found->block_sizes});
  accept(option, writer);
}

void ServerHandshake::agree_on_headers(Option option, Bytes data, Writer& writer) {
  if (!data.empty()) {
    return refuse(option, OptionReplyType::invalid, "the option takes no data", writer);
  }
  if (option == Option::extended_headers) {
    agreement_.headers = Headers::extended;
    return accept(option, writer);
  }
  if (agreement_.headers == Headers::extended) {
    return refuse(option, OptionReplyType::extended_headers_required,
                  "extended headers have been agreed on already", writer);
  }
  agreement_.headers = Headers::structured;
  accept(option, writer);
}

void ServerHandshake::query_contexts(Option option, Bytes data, Writer& writer) {
  const bool is_list = option == Option::list_meta_context;
  if (!is_list) {
    agreement_.contexts.clear();
    contexts_of_.clear();
  }
  if (agreement_.headers == Headers::simple) {
    return refuse(option, OptionReplyType::invalid, "block status needs structured replies",
                  writer);
  }
  const auto query = read_context_query(data);
  if (!query) {
    return refuse(option, OptionReplyType::invalid, "the option's data is malformed", writer);
  }
  const Export* const found = find(query->export_name);
  if (found == nullptr) {
    return refuse(option, OptionReplyType::unknown_export, "there is no export of this name",
                  writer);
  }
  std::vector<MetaContext> chosen;
  for (const std::string& context : found->contexts) {
    if (!matches(context, query->queries, is_list)) continue;
    const auto number = static_cast<uint32_t>(chosen.size() + 1);
    chosen.push_back({.id = is_list ? 0 : number, .name = context});
  }
  if (!is_list && chosen.size() > kContextsMax) {
    return refuse(option, OptionReplyType::too_big, "too many contexts are chosen", writer);
  }
  for (const MetaContext& context : chosen) {
    write_option_reply(option, OptionReplyType::meta_context, to_bytes(context), writer);
  }
  accept(option, writer);
  if (is_list) return;
  agreement_.contexts = std::move(chosen);
  contexts_of_ = found->name;
}

const Export* ServerHandshake::find(std::string_view name) const {
  if (!name.empty()) return exports_.find(name);
  const auto names = exports_.names();
  return names.empty() ? nullptr : exports_.find(names.front());
}

uint16_t ServerHandshake::flags_of(const Export& chosen) const {
  unsigned flags = chosen.flags | kHasFlags;
  if (agreement_.headers != Headers::simple) flags |= kSendDf;
  if (agreement_.headers == Headers::extended && contexts_of_ == chosen.name &&
      !agreement_.contexts.empty()) {
    flags |= kBlockStatusPayload;
  }
  return static_cast<uint16_t>(flags);
}

// Contexts of another export do not count.
void ServerHandshake::enter_transmission(const Export& chosen) {
  if (contexts_of_ != chosen.name) agreement_.contexts.clear();
  agreement_.chosen = &chosen;
  state_ = State::transmission;
}

void ServerHandshake::end(std::string why) {
  why_ = std::move(why);
  state_ = State::ended;
}

}  // namespace sluice::nbd
