// The messages of the handshake, for both ends: greeting, options, and replies to options.
//
// Pure functions, safe on any thread. Strings that are too long, and lengths that contradict each
// other, are invalid.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nbd/protocol.hpp"
#include "nbd/wire.hpp"

namespace sluice::nbd {

// --- From the server.

struct Greeting {
  bool is_oldstyle = false;
  uint16_t flags = 0;  // HandshakeFlag; oldstyle: TransmissionFlag
  uint64_t size = 0;   // oldstyle only, of the export in bytes
};
void write_greeting(uint16_t flags, Writer& writer);
Parsed<Greeting> read_greeting(Bytes buffer);

struct ExportFacts {
  uint64_t size = 0;   // in bytes
  uint16_t flags = 0;  // TransmissionFlag
};
// The reply to Option::export_name. `no_zeroes`: both ends have agreed on kNoZeroes.
void write_export_facts(const ExportFacts& facts, bool no_zeroes, Writer& writer);
Parsed<ExportFacts> read_export_facts(Bytes buffer, bool no_zeroes);

// All other replies: a header, then `length` bytes.
struct OptionReply {
  Option option = Option::abort;
  OptionReplyType type = OptionReplyType::ack;
  uint32_t length = 0;
};
inline constexpr size_t kOptionReplyBytes = 20;
void write_option_reply(Option option, OptionReplyType type, Bytes data, Writer& writer);
Parsed<OptionReply> read_option_reply(Bytes buffer);

// OptionReplyType::server
struct ListedExport {
  std::string name;
  std::string description;
};
std::vector<std::byte> to_bytes(const ListedExport& listed);
std::optional<ListedExport> read_listed_export(Bytes data);

struct BlockSizes {
  uint32_t minimum = 1;  // of offsets and lengths, in bytes
  uint32_t preferred = 4096;
  uint32_t payload_max = kDefaultPayloadMax;
};
// OptionReplyType::info; one of its members, or none if the type is unknown.
struct Info {
  std::optional<ExportFacts> facts = {};
  std::optional<std::string> name = {};
  std::optional<std::string> description = {};
  std::optional<BlockSizes> block_sizes = {};
};
std::vector<std::byte> to_bytes(const Info& info);  // of exactly one member
std::optional<Info> read_info(Bytes data);

// OptionReplyType::meta_context
struct MetaContext {
  uint32_t id = 0;
  std::string name;
};
std::vector<std::byte> to_bytes(const MetaContext& context);
std::optional<MetaContext> read_meta_context(Bytes data);

// --- From the client.

inline constexpr size_t kClientFlagsBytes = 4;

// A header, then `length` bytes.
struct OptionRequest {
  Option option = Option::abort;  // possibly one that the specification does not have
  uint32_t length = 0;
};
inline constexpr size_t kOptionRequestBytes = 16;
void write_option(Option option, Bytes data, Writer& writer);
Parsed<OptionRequest> read_option(Bytes buffer);

// The data of Option::info and Option::go.
struct ExportQuery {
  std::string name;
  std::vector<InfoType> wanted;
};
std::vector<std::byte> to_bytes(const ExportQuery& query);
std::optional<ExportQuery> read_export_query(Bytes data);

// The data of Option::list_meta_context and Option::set_meta_context.
struct ContextQuery {
  std::string export_name;
  std::vector<std::string> queries;
};
std::vector<std::byte> to_bytes(const ContextQuery& query);
std::optional<ContextQuery> read_context_query(Bytes data);

}  // namespace sluice::nbd
