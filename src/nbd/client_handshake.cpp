#include "nbd/client_handshake.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <utility>

#include "spec/shown.hpp"

namespace sluice::nbd {
namespace {

constexpr uint64_t kSizeMax = INT64_MAX;
constexpr uint32_t kMinimumBlockMax = 64 << 10;
constexpr size_t kNamesShown = 20;

std::string text_of(Bytes data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

// What the server says in a refusal, for users.
std::string said(OptionReplyType type, Bytes data) {
  const auto number = static_cast<uint32_t>(type) & ~kOptionErrorBit;
  if (data.empty()) return fmt::format("error {}", number);
  return fmt::format("{} (error {})", printable(text_of(data), 200), number);
}

}  // namespace

size_t ClientHandshake::feed(Bytes input, std::vector<std::byte>& output) {
  Writer writer(output);
  size_t used = 0;
  while (state_ == State::talking) {
    const Bytes left = input.subspan(used);
    const size_t taken = step_ == Step::greeting ? take_greeting(left, writer)
                         : step_ == Step::facts  ? take_facts(left)
                                                 : take_reply(left, writer);
    if (taken == 0) break;
    used += taken;
  }
  if (state_ == State::starting_tls && used != input.size()) {
    fail("it sent more than its consent before TLS has begun");
  }
  return used;
}

size_t ClientHandshake::take_greeting(Bytes input, Writer& writer) {
  const auto greeting = read_greeting(input);
  if (greeting.is_invalid()) fail(greeting.why);
  if (!greeting.is_whole()) return 0;
  const auto [is_oldstyle, flags, size] = *greeting.message;
  if (is_oldstyle) {
    agreement_.size = size;
    agreement_.flags = flags;
    if (wish_.tls == Tls::required) {
      fail("it speaks the oldstyle protocol, which has no TLS");
    } else if (!wish_.export_name.empty()) {
      fail(fmt::format("it speaks the oldstyle protocol, which has no names: use it without {}",
                       shown(wish_.export_name)));
    } else {
      enter_transmission();
    }
    return greeting.bytes;
  }
  no_zeroes_ = (flags & kNoZeroes) != 0;
  writer.put(static_cast<uint32_t>(flags & (kFixedNewstyle | kNoZeroes)));
  if ((flags & kFixedNewstyle) == 0) {
    if (wish_.tls == Tls::required) {
      fail("it does not speak fixed newstyle, without which there is no TLS");
    } else {
      ask_by_name(writer);
    }
  } else if (wish_.tls != Tls::none) {
    ask(Step::starttls, Option::starttls, {}, writer);
  } else {
    ask_for_headers(writer);
  }
  return greeting.bytes;
}

// --- What it asks for, in order.

void ClientHandshake::ask(Step step, Option option, Bytes data, Writer& writer) {
  step_ = step;
  asked_ = option;
  write_option(option, data, writer);
}

void ClientHandshake::ask_for_headers(Writer& writer) {
  switch (wish_.headers) {
    case Headers::extended:
      return ask(Step::extended_headers, Option::extended_headers, {}, writer);
    case Headers::structured:
      return ask(Step::structured_reply, Option::structured_reply, {}, writer);
    case Headers::simple:
      return ask_to_go(writer);
  }
}

void ClientHandshake::ask_for_contexts(Writer& writer) {
  if (!wish_.block_status) return ask_to_go(writer);
  const ContextQuery query{.export_name = wish_.export_name,
                           .queries = {std::string(kAllocationContext)}};
  ask(Step::contexts, Option::set_meta_context, to_bytes(query), writer);
}

void ClientHandshake::ask_to_go(Writer& writer) {
  const ExportQuery query{.name = wish_.export_name, .wanted = {InfoType::block_size}};
  ask(Step::go, Option::go, to_bytes(query), writer);
}

void ClientHandshake::ask_by_name(Writer& writer) {
  const std::string_view name = wish_.export_name;
  ask(Step::facts, Option::export_name, std::as_bytes(std::span(name)), writer);
}

// --- The replies.

size_t ClientHandshake::take_reply(Bytes input, Writer& writer) {
  const auto header = read_option_reply(input);
  if (header.is_invalid()) fail(header.why);
  if (!header.is_whole()) return 0;
  const auto [option, type, length] = *header.message;
  if (option != asked_) {
    fail(fmt::format("it answers option {} where {} was asked", static_cast<uint32_t>(option),
                     static_cast<uint32_t>(asked_)));
    return 0;
  }
  if (input.size() < kOptionReplyBytes + length) return 0;
  handle(type, input.subspan(kOptionReplyBytes, length), writer);
  return kOptionReplyBytes + length;
}

void ClientHandshake::handle(OptionReplyType type, Bytes data, Writer& writer) {
  const bool acknowledged = type == OptionReplyType::ack;
  if (!acknowledged && !is_error(type) && step_ != Step::contexts && step_ != Step::go &&
      step_ != Step::list) {
    return fail(fmt::format("its reply to option {} has the unknown type {}",
                            static_cast<uint32_t>(asked_), static_cast<uint32_t>(type)));
  }
  if (type == OptionReplyType::shutdown) return fail("it is shutting down");
  if (type == OptionReplyType::tls_required && step_ != Step::starttls) {
    return fail("it requires TLS: use nbds://");
  }
  switch (step_) {
    case Step::starttls:
      return handle_starttls(type, writer);
    case Step::extended_headers:
      if (!acknowledged) {
        return ask(Step::structured_reply, Option::structured_reply, {}, writer);
      }
      agreement_.headers = Headers::extended;
      return ask_for_contexts(writer);
    case Step::structured_reply:
      if (!acknowledged) return ask_to_go(writer);
      agreement_.headers = Headers::structured;
      return ask_for_contexts(writer);
    case Step::contexts:
      return handle_contexts(type, data, writer);
    case Step::go:
      return handle_go(type, data, writer);
    case Step::list:
      return handle_list(type, data);
    case Step::greeting:
    case Step::facts:
      break;
  }
}

void ClientHandshake::handle_starttls(OptionReplyType type, Writer& writer) {
  if (type == OptionReplyType::ack) {
    state_ = State::starting_tls;
  } else if (wish_.tls == Tls::required) {
    fail("it refuses TLS, which is required");
  } else {
    ask_for_headers(writer);
  }
}

void ClientHandshake::tls_started(std::vector<std::byte>& output) {
  state_ = State::talking;
  Writer writer(output);
  ask_for_headers(writer);
}

// A context counts only if the whole option succeeds.
void ClientHandshake::handle_contexts(OptionReplyType type, Bytes data, Writer& writer) {
  if (type == OptionReplyType::meta_context) {
    const auto context = read_meta_context(data);
    if (!context) return fail("it describes a metadata context in a way that makes no sense");
    if (context->name == kAllocationContext) context_offered_ = context->id;
    return;
  }
  if (type == OptionReplyType::ack) {
    agreement_.allocation_context = context_offered_;
  } else if (!is_error(type)) {
    return fail(fmt::format("its reply to SET_META_CONTEXT has the unknown type {}",
                            static_cast<uint32_t>(type)));
  }
  ask_to_go(writer);
}

void ClientHandshake::handle_go(OptionReplyType type, Bytes data, Writer& writer) {
  switch (type) {
    case OptionReplyType::info:
      return note_info(data);
    case OptionReplyType::ack:
      if (!facts_known_) return fail("it does not say how large the export is");
      return enter_transmission();
    case OptionReplyType::unsupported:
      // Extended headers exclude the old way.
      if (agreement_.headers == Headers::extended) break;
      return ask_by_name(writer);
    case OptionReplyType::unknown_export:
      return ask(Step::list, Option::list, {}, writer);
    default:
      break;
  }
  if (!is_error(type)) {
    return fail(
        fmt::format("its reply to GO has the unknown type {}", static_cast<uint32_t>(type)));
  }
  fail(fmt::format("it refuses {}: {}", name_of_export(), said(type, data)));
}

void ClientHandshake::note_info(Bytes data) {
  const auto info = read_info(data);
  if (!info) return fail("it describes the export in a way that makes no sense");
  if (info->facts) {
    facts_known_ = true;
    agreement_.size = info->facts->size;
    agreement_.flags = info->facts->flags;
  }
  if (info->block_sizes) {
    agreement_.block_sizes = *info->block_sizes;
    agreement_.block_sizes_known = true;
  }
}

void ClientHandshake::handle_list(OptionReplyType type, Bytes data) {
  if (type == OptionReplyType::server) {
    if (const auto listed = read_listed_export(data); listed && exports_.size() <= kNamesShown) {
      exports_.push_back(shown(listed->name));
    }
    return;
  }
  const std::string lacks = fmt::format("it has no {}", name_of_export());
  if (type != OptionReplyType::ack) return fail(lacks);
  if (exports_.empty()) return fail(lacks + ", and no other");
  const bool all = exports_.size() <= kNamesShown;
  if (!all) exports_.pop_back();
  fail(fmt::format("{}: there {} {}{}", lacks, exports_.size() == 1 ? "is" : "are",
                   fmt::join(exports_, ", "), all ? "" : " and others"));
}

size_t ClientHandshake::take_facts(Bytes input) {
  const auto facts = read_export_facts(input, no_zeroes_);
  if (!facts.is_whole()) return 0;
  agreement_.size = facts.message->size;
  agreement_.flags = facts.message->flags;
  enter_transmission();
  return facts.bytes;
}

// --- The end.

void ClientHandshake::enter_transmission() {
  if (std::string fault = fault_of_sizes(); !fault.empty()) return fail(std::move(fault));
  state_ = State::transmission;
}

// Values with which requests could not be made, or would be made wrongly.
std::string ClientHandshake::fault_of_sizes() const {
  if (agreement_.size > kSizeMax) {
    return fmt::format("its size is {} bytes, more than 2^63 - 1", agreement_.size);
  }
  if (!agreement_.block_sizes_known) return {};
  const auto& [minimum, preferred, payload_max] = agreement_.block_sizes;
  if (!std::has_single_bit(minimum) || minimum > kMinimumBlockMax) {
    return fmt::format("its smallest block has {} bytes, which is no power of two up to {}",
                       minimum, kMinimumBlockMax);
  }
  if (!std::has_single_bit(preferred) || preferred < minimum) {
    return fmt::format("its preferred block has {} bytes, where its smallest has {}", preferred,
                       minimum);
  }
  if (payload_max < minimum) {
    return fmt::format("it takes at most {} bytes in a request, where its smallest block has {}",
                       payload_max, minimum);
  }
  return {};
}

std::string ClientHandshake::name_of_export() const {
  return wish_.export_name.empty() ? "default export"
                                   : fmt::format("export {}", shown(wish_.export_name));
}

void ClientHandshake::fail(std::string why) {
  if (state_ == State::failed) return;
  state_ = State::failed;
  why_ = std::move(why);
}

}  // namespace sluice::nbd
