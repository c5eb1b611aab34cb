#include "nbd/handshake.hpp"

#include <fmt/format.h>

#include <utility>

namespace sluice::nbd {
namespace {

constexpr size_t kTrailingZeroes = 124;
constexpr size_t kOldstyleBytes = 8 + 8 + 8 + 4 + kTrailingZeroes;

// Reads a length, then as many bytes. Nullopt: too long, or not all there.
std::optional<std::string> read_string(Reader& reader) {
  const auto bytes = reader.number<uint32_t>();
  if (reader.has_failed() || bytes > kStringBytesMax) return std::nullopt;
  std::string text(reader.text(bytes));
  if (reader.has_failed()) return std::nullopt;
  return text;
}

void write_string(std::string_view text, Writer& writer) {
  writer.put(static_cast<uint32_t>(text.size())).put(text);
}

std::string rest_of(const Reader& reader) {
  const Bytes left = reader.left();
  return {reinterpret_cast<const char*>(left.data()), left.size()};
}

}  // namespace

// --- From the server.

void write_greeting(uint16_t flags, Writer& writer) {
  writer.put(kGreetingMagic).put(kOptionMagic).put(flags);
}

Parsed<Greeting> read_greeting(Bytes buffer) {
  using Outcome = Parsed<Greeting>;
  constexpr size_t kMagicBytes = 16;
  constexpr size_t kNewstyleBytes = kMagicBytes + 2;
  if (buffer.size() < kMagicBytes) return Outcome::incomplete(kNewstyleBytes);
  Reader reader(buffer);
  const auto first = reader.number<uint64_t>();
  if (first != kGreetingMagic) {
    return Outcome::invalid(fmt::format("it begins with {:#018x}, and is no NBD server", first));
  }
  const auto second = reader.number<uint64_t>();
  Greeting greeting{.is_oldstyle = second == kOldstyleMagic};
  if (!greeting.is_oldstyle && second != kOptionMagic) {
    return Outcome::invalid(fmt::format("its handshake has the unknown form {:#018x}", second));
  }
  const size_t bytes = greeting.is_oldstyle ? kOldstyleBytes : kNewstyleBytes;
  if (buffer.size() < bytes) return Outcome::incomplete(bytes);
  if (greeting.is_oldstyle) {
    greeting.size = reader.number<uint64_t>();
    greeting.flags = static_cast<uint16_t>(reader.number<uint32_t>());
  } else {
    greeting.flags = reader.number<uint16_t>();
  }
  return Outcome::whole(greeting, bytes);
}

void write_export_facts(const ExportFacts& facts, bool no_zeroes, Writer& writer) {
  writer.put(facts.size).put(facts.flags);
  if (!no_zeroes) writer.put(std::vector<std::byte>(kTrailingZeroes));
}

Parsed<ExportFacts> read_export_facts(Bytes buffer, bool no_zeroes) {
  using Outcome = Parsed<ExportFacts>;
  const size_t bytes = 10 + (no_zeroes ? 0 : kTrailingZeroes);
  if (buffer.size() < bytes) return Outcome::incomplete(bytes);
  Reader reader(buffer);
  const auto size = reader.number<uint64_t>();
  return Outcome::whole({.size = size, .flags = reader.number<uint16_t>()}, bytes);
}

void write_option_reply(Option option, OptionReplyType type, Bytes data, Writer& writer) {
  writer.put(kOptionReplyMagic)
      .put(option)
      .put(type)
      .put(static_cast<uint32_t>(data.size()))
      .put(data);
}

Parsed<OptionReply> read_option_reply(Bytes buffer) {
  using Outcome = Parsed<OptionReply>;
  if (buffer.size() < kOptionReplyBytes) return Outcome::incomplete(kOptionReplyBytes);
  Reader reader(buffer);
  const auto magic = reader.number<uint64_t>();
  if (magic != kOptionReplyMagic) {
    return Outcome::invalid(fmt::format("its reply to an option begins with {:#018x}", magic));
  }
  OptionReply reply;
  reply.option = static_cast<Option>(reader.number<uint32_t>());
  reply.type = static_cast<OptionReplyType>(reader.number<uint32_t>());
  reply.length = reader.number<uint32_t>();
  // The longest one is a name and a description.
  constexpr size_t kMost = 2 * kStringBytesMax + sizeof(uint32_t);
  if (reply.length > kMost) {
    return Outcome::invalid(
        fmt::format("its reply to an option has {} bytes, {} are the limit", reply.length, kMost));
  }
  return Outcome::whole(reply, kOptionReplyBytes);
}

std::vector<std::byte> to_bytes(const ListedExport& listed) {
  std::vector<std::byte> data;
  Writer writer(data);
  write_string(listed.name, writer);
  writer.put(listed.description);
  return data;
}

std::optional<ListedExport> read_listed_export(Bytes data) {
  Reader reader(data);
  auto name = read_string(reader);
  if (!name || reader.left().size() > kStringBytesMax) return std::nullopt;
  return ListedExport{.name = std::move(*name), .description = rest_of(reader)};
}

std::vector<std::byte> to_bytes(const Info& info) {
  std::vector<std::byte> data;
  Writer writer(data);
  if (info.facts) writer.put(InfoType::export_).put(info.facts->size).put(info.facts->flags);
  if (info.name) writer.put(InfoType::name).put(*info.name);
  if (info.description) writer.put(InfoType::description).put(*info.description);
  if (const auto& sizes = info.block_sizes) {
    writer.put(InfoType::block_size)
        .put(sizes->minimum)
        .put(sizes->preferred)
        .put(sizes->payload_max);
  }
  return data;
}

std::optional<Info> read_info(Bytes data) {
  Reader reader(data);
  const auto type = static_cast<InfoType>(reader.number<uint16_t>());
  if (reader.has_failed()) return std::nullopt;
  Info info;
  switch (type) {
    case InfoType::export_: {
      const auto size = reader.number<uint64_t>();
      info.facts = {.size = size, .flags = reader.number<uint16_t>()};
      break;
    }
    case InfoType::block_size: {
      BlockSizes sizes;
      sizes.minimum = reader.number<uint32_t>();
      sizes.preferred = reader.number<uint32_t>();
      sizes.payload_max = reader.number<uint32_t>();
      info.block_sizes = sizes;
      break;
    }
    case InfoType::name:
    case InfoType::description:
      if (reader.left().size() > kStringBytesMax) return std::nullopt;
      (type == InfoType::name ? info.name : info.description) = rest_of(reader);
      return info;
    default:
      return info;
  }
  if (!reader.is_done()) return std::nullopt;
  return info;
}

std::vector<std::byte> to_bytes(const MetaContext& context) {
  std::vector<std::byte> data;
  Writer(data).put(context.id).put(context.name);
  return data;
}

std::optional<MetaContext> read_meta_context(Bytes data) {
  Reader reader(data);
  const auto id = reader.number<uint32_t>();
  if (reader.has_failed() || reader.left().size() > kStringBytesMax) return std::nullopt;
  return MetaContext{.id = id, .name = rest_of(reader)};
}

// --- From the client.

void write_option(Option option, Bytes data, Writer& writer) {
  writer.put(kOptionMagic).put(option).put(static_cast<uint32_t>(data.size())).put(data);
}

Parsed<OptionRequest> read_option(Bytes buffer) {
  using Outcome = Parsed<OptionRequest>;
  if (buffer.size() < kOptionRequestBytes) return Outcome::incomplete(kOptionRequestBytes);
  Reader reader(buffer);
  const auto magic = reader.number<uint64_t>();
  if (magic != kOptionMagic) {
    return Outcome::invalid(fmt::format("an option begins with {:#018x}", magic));
  }
  const auto option = static_cast<Option>(reader.number<uint32_t>());
  return Outcome::whole({.option = option, .length = reader.number<uint32_t>()},
                        kOptionRequestBytes);
}

std::vector<std::byte> to_bytes(const ExportQuery& query) {
  std::vector<std::byte> data;
  Writer writer(data);
  write_string(query.name, writer);
  writer.put(static_cast<uint16_t>(query.wanted.size()));
  for (const InfoType type : query.wanted) writer.put(type);
  return data;
}

std::optional<ExportQuery> read_export_query(Bytes data) {
  Reader reader(data);
  auto name = read_string(reader);
  if (!name) return std::nullopt;
  ExportQuery query{.name = std::move(*name), .wanted = {}};
  const auto count = reader.number<uint16_t>();
  if (reader.left().size() != count * sizeof(uint16_t)) return std::nullopt;
  for (int i = 0; i < count; ++i) {
    query.wanted.push_back(static_cast<InfoType>(reader.number<uint16_t>()));
  }
  if (!reader.is_done()) return std::nullopt;
  return query;
}

std::vector<std::byte> to_bytes(const ContextQuery& query) {
  std::vector<std::byte> data;
  Writer writer(data);
  write_string(query.export_name, writer);
  writer.put(static_cast<uint32_t>(query.queries.size()));
  for (const std::string& each : query.queries) write_string(each, writer);
  return data;
}

std::optional<ContextQuery> read_context_query(Bytes data) {
  Reader reader(data);
  auto name = read_string(reader);
  if (!name) return std::nullopt;
  ContextQuery query{.export_name = std::move(*name), .queries = {}};
  // Not reserved: the number is the client's.
  for (auto left = reader.number<uint32_t>(); left != 0; --left) {
    auto text = read_string(reader);
    if (!text) return std::nullopt;
    query.queries.push_back(std::move(*text));
  }
  if (!reader.is_done()) return std::nullopt;
  return query;
}

}  // namespace sluice::nbd
