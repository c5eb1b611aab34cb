// The messages of the NBD protocol: each is read as it was written, from buffers that end at every
// byte, and what a peer may not send is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "nbd/handshake.hpp"
#include "nbd/reply.hpp"
#include "nbd/request.hpp"

namespace sluice::nbd::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Headers kAllHeaders[] = {Headers::simple, Headers::structured, Headers::extended};
constexpr uint64_t kPayloadMax = 32 << 20;

// Reads the message from every beginning of `bytes`, then with more behind it.
template <typename Read>
auto read_cut(std::vector<std::byte> bytes, const Read& read) {
  for (size_t length = 0; length < bytes.size(); ++length) {
    const auto parsed = read(Bytes(bytes).first(length));
    EXPECT_FALSE(parsed.is_whole()) << length;
    EXPECT_FALSE(parsed.is_invalid()) << length << ": " << parsed.why;
    EXPECT_GT(parsed.bytes, length);
    EXPECT_LE(parsed.bytes, bytes.size());
  }
  const size_t whole = bytes.size();
  bytes.push_back(std::byte{0xff});
  auto parsed = read(Bytes(bytes));
  EXPECT_TRUE(parsed.is_whole()) << parsed.why;
  EXPECT_EQ(parsed.bytes, whole);
  return parsed.message.value();
}

std::vector<std::byte> written(const auto& write) {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  write(writer);
  return bytes;
}

std::vector<std::byte> request_bytes_of(const RequestHeader& request, Headers headers) {
  std::vector<std::byte> bytes(kExtendedRequestBytes);
  bytes.resize(write_request(request, headers, bytes));
  return bytes;
}

std::vector<std::byte> reply_bytes_of(const ReplyHeader& reply, Headers headers) {
  std::vector<std::byte> bytes(kReplyBytesMax);
  bytes.resize(write_reply(reply, headers, bytes));
  return bytes;
}

std::string fault_of(const ReplyHeader& reply, Headers headers = Headers::structured) {
  return read_reply(reply_bytes_of(reply, headers), headers, kPayloadMax).why;
}

// T2.12
TEST(NbdRequest, IsReadAsItWasWritten) {
  for (const Headers headers : kAllHeaders) {
    const RequestHeader request{.flags = kFua | kNoHole,
                                .command = Command::write_zeroes,
                                .cookie = 0x0123456789abcdef,
                                .offset = uint64_t{5} << 40,
                                .length = headers == Headers::extended ? uint64_t{6} << 32 : 7};
    const auto read = read_cut(request_bytes_of(request, headers),
                               [&](Bytes bytes) { return read_request(bytes, headers); });
    EXPECT_EQ(read.flags, request.flags);
    EXPECT_EQ(read.command, request.command);
    EXPECT_EQ(read.cookie, request.cookie);
    EXPECT_EQ(read.offset, request.offset);
    EXPECT_EQ(read.length, request.length);
  }
}

TEST(NbdRequest, HasTheBytesOfTheSpecification) {
  const auto bytes = request_bytes_of(
      {.flags = 1, .command = Command::write, .cookie = 2, .offset = 3, .length = 4},
      Headers::simple);
  EXPECT_EQ(bytes.size(), 28U);
  EXPECT_EQ(bytes[0], std::byte{0x25});
  EXPECT_EQ(bytes[3], std::byte{0x13});
  EXPECT_EQ(bytes[5], std::byte{1});
  EXPECT_EQ(bytes[7], std::byte{1});
  EXPECT_EQ(bytes[15], std::byte{2});
  EXPECT_EQ(bytes[23], std::byte{3});
  EXPECT_EQ(bytes[27], std::byte{4});
}

// T1.18
TEST(NbdRequest, KnowsItsPayload) {
  RequestHeader request{.command = Command::write, .length = 512};
  EXPECT_EQ(request.payload_bytes(Headers::simple), 512U);
  EXPECT_EQ(request.payload_bytes(Headers::extended), 0U) << "without the flag";
  request.flags = kPayloadLength;
  EXPECT_EQ(request.payload_bytes(Headers::extended), 512U);
  request.command = Command::trim;
  EXPECT_EQ(request.payload_bytes(Headers::extended), 512U) << "to be skipped";
  EXPECT_EQ(request.payload_bytes(Headers::structured), 0U);
}

TEST(NbdRequest, OfOtherHeadersIsInvalid) {
  const auto compact = request_bytes_of({}, Headers::simple);
  const auto read = read_request(Bytes(compact).first(4), Headers::extended);
  EXPECT_TRUE(read.is_invalid());
  EXPECT_EQ(read.why, "a request begins with 0x25609513, not 0x21e41c71");
}

TEST(NbdReply, IsReadAsItWasWritten) {
  for (const Headers headers : kAllHeaders) {
    for (const bool is_simple : {true, false}) {
      if (is_simple ? headers == Headers::extended : headers == Headers::simple) continue;
      const ReplyHeader reply{.is_simple = is_simple,
                              .cookie = 77,
                              .error = is_simple ? 5U : 0U,
                              .flags = is_simple ? uint16_t{0} : kReplyDone,
                              .type = is_simple ? ChunkType::none : ChunkType::offset_data,
                              .offset = headers == Headers::extended ? 99U : 0U,
                              .length = is_simple ? 0U : 4104U};
      const auto read = read_cut(reply_bytes_of(reply, headers), [&](Bytes bytes) {
        return read_reply(bytes, headers, kPayloadMax);
      });
      EXPECT_EQ(read.is_simple, reply.is_simple);
      EXPECT_EQ(read.cookie, reply.cookie);
      EXPECT_EQ(read.error, reply.error);
      EXPECT_EQ(read.flags, reply.flags);
      EXPECT_EQ(read.type, reply.type);
      EXPECT_EQ(read.offset, reply.offset);
      EXPECT_EQ(read.length, reply.length);
    }
  }
}

// T2.11
TEST(NbdReply, OfAFormThatWasNotAgreedOnIsInvalid) {
  const auto simple = reply_bytes_of({.is_simple = true}, Headers::simple);
  const auto chunk = reply_bytes_of({.flags = kReplyDone}, Headers::structured);
  const auto extended = reply_bytes_of({.flags = kReplyDone}, Headers::extended);
  EXPECT_TRUE(read_reply(simple, Headers::extended, kPayloadMax).is_invalid());
  EXPECT_TRUE(read_reply(chunk, Headers::simple, kPayloadMax).is_invalid());
  EXPECT_TRUE(read_reply(chunk, Headers::extended, kPayloadMax).is_invalid());
  EXPECT_TRUE(read_reply(extended, Headers::structured, kPayloadMax).is_invalid());
  EXPECT_THAT(read_reply(extended, Headers::simple, kPayloadMax).why, HasSubstr("0x6e8a278c"));
}

// T2.2, T2.6
TEST(NbdReply, LengthsThatAChunkCannotHaveAreInvalid) {
  const auto with = [](ChunkType type, uint64_t length, uint16_t flags = kReplyDone) {
    return ReplyHeader{.flags = flags, .type = type, .length = length};
  };
  EXPECT_THAT(fault_of(with(ChunkType::none, 0)), IsEmpty());
  EXPECT_THAT(fault_of(with(ChunkType::none, 1)), HasSubstr("not 0"));
  EXPECT_THAT(fault_of(with(ChunkType::none, 0, 0)), HasSubstr("is not the last one"));
  EXPECT_THAT(fault_of(with(ChunkType::offset_data, 8)), HasSubstr("at least 9"));
  EXPECT_THAT(fault_of(with(ChunkType::offset_data, kPayloadMax + 8)), IsEmpty());
  EXPECT_THAT(fault_of(with(ChunkType::offset_data, kPayloadMax + 9)), HasSubstr("the limit"));
  EXPECT_THAT(fault_of(with(ChunkType::offset_hole, 12)), IsEmpty());
  EXPECT_THAT(fault_of(with(ChunkType::offset_hole, 16)), HasSubstr("not 12"));
  EXPECT_THAT(fault_of(with(ChunkType::block_status, 12)), IsEmpty());
  EXPECT_THAT(fault_of(with(ChunkType::block_status, 4)), HasSubstr("whole extents"));
  EXPECT_THAT(fault_of(with(ChunkType::block_status, 13)), HasSubstr("whole extents"));
  EXPECT_THAT(fault_of(with(ChunkType::block_status, 12 + (8 << 20))), HasSubstr("2^20"));
  EXPECT_THAT(fault_of(with(ChunkType::block_status, 20), Headers::extended),
              HasSubstr("the form of other headers"));
  EXPECT_THAT(fault_of(with(ChunkType::block_status_extended, 24)),
              HasSubstr("the form of other headers"));
  EXPECT_THAT(fault_of(with(ChunkType::block_status_extended, 24), Headers::extended), IsEmpty());
  EXPECT_THAT(fault_of(with(ChunkType::error, 5)), HasSubstr("at least 6"));
  EXPECT_THAT(fault_of(with(ChunkType::error_offset, 13)), HasSubstr("at least 14"));
  EXPECT_THAT(fault_of(with(ChunkType::error, 1 << 20)), HasSubstr("too many for an error"));
  EXPECT_THAT(fault_of(with(static_cast<ChunkType>(3), 1)), HasSubstr("unknown type 3"));
  EXPECT_THAT(fault_of(with(static_cast<ChunkType>(kChunkErrorBit + 9), 6)), IsEmpty())
      << "an error of a type to come";
}

ChunkHead head_of(const ReplyHeader& reply, const ChunkHead& head) {
  std::vector<std::byte> bytes(16);
  bytes.resize(write_chunk_head(reply.type, head, bytes));
  EXPECT_EQ(bytes.size(), chunk_head_bytes(reply.type));
  return read_cut(bytes, [&](Bytes part) { return read_chunk_head(part, reply); });
}

TEST(NbdReply, TheHeadOfAChunkIsReadAsItWasWritten) {
  const ChunkHead data =
      head_of({.type = ChunkType::offset_data, .length = 8 + 512}, {.offset = 4096});
  EXPECT_EQ(data.offset, 4096U);
  EXPECT_EQ(data.length, 512U);
  const ChunkHead hole =
      head_of({.type = ChunkType::offset_hole, .length = 12}, {.offset = 4096, .length = 1 << 20});
  EXPECT_EQ(hole.offset, 4096U);
  EXPECT_EQ(hole.length, 1U << 20);
  const ChunkHead status =
      head_of({.type = ChunkType::block_status, .length = 4 + 24}, {.context = 9});
  EXPECT_EQ(status.context, 9U);
  EXPECT_EQ(status.extents, 3U);
  const ChunkHead extended = head_of({.type = ChunkType::block_status_extended, .length = 8 + 32},
                                     {.context = 9, .extents = 2});
  EXPECT_EQ(extended.extents, 2U);
  const ChunkHead error = head_of({.type = ChunkType::error_offset, .length = 6 + 5 + 8},
                                  {.error = 5, .text_bytes = 5});
  EXPECT_EQ(error.error, 5U);
  EXPECT_EQ(error.text_bytes, 5U);
}

TEST(NbdReply, AHeadThatContradictsItsChunkIsInvalid) {
  const auto fault = [](const ReplyHeader& reply, const ChunkHead& head) {
    std::vector<std::byte> bytes(16);
    write_chunk_head(reply.type, head, bytes);
    return read_chunk_head(bytes, reply).why;
  };
  EXPECT_THAT(fault({.type = ChunkType::offset_hole, .length = 12}, {.length = 0}),
              HasSubstr("no length"));
  EXPECT_THAT(fault({.type = ChunkType::block_status_extended, .length = 24}, {.extents = 2}),
              HasSubstr("announces 2 extents, and has 1"));
  EXPECT_THAT(fault({.type = ChunkType::error, .length = 10}, {.error = 5, .text_bytes = 5}),
              HasSubstr("has 5 bytes, in a chunk of 10"));
  EXPECT_THAT(fault({.type = ChunkType::error_offset, .length = 18}, {.error = 5, .text_bytes = 5}),
              HasSubstr("has 5 bytes"));
  EXPECT_THAT(fault({.type = ChunkType::error, .length = 10}, {.error = 0, .text_bytes = 4}),
              HasSubstr("number 0"));
}

TEST(NbdReply, ExtentsAreReadAsTheyWereWritten) {
  for (const Headers headers : {Headers::structured, Headers::extended}) {
    std::vector<std::byte> bytes(16);
    const StatusExtent extent{.length = 1 << 20, .flags = kHole | kZero};
    bytes.resize(write_status_extent(extent, headers, bytes));
    EXPECT_EQ(bytes.size(), status_extent_bytes(headers));
    const StatusExtent read = read_status_extent(bytes, headers);
    EXPECT_EQ(read.length, extent.length);
    EXPECT_EQ(read.flags, extent.flags);
  }
}

TEST(NbdErrors, AreThoseOfTheSpecification) {
  EXPECT_EQ(to_wire_error(0), 0U);
  EXPECT_EQ(to_wire_error(ENOSPC), 28U);
  EXPECT_EQ(to_wire_error(EROFS), 1U);
  EXPECT_EQ(to_wire_error(EDQUOT), 28U);
  EXPECT_EQ(to_wire_error(ETIMEDOUT), 5U);
  EXPECT_EQ(from_wire_error(95), EOPNOTSUPP);
  EXPECT_EQ(from_wire_error(108), ESHUTDOWN);
  EXPECT_EQ(from_wire_error(4711), EINVAL);
}

TEST(NbdHandshake, TheGreetingIsReadAsItWasWritten) {
  const auto bytes = written([](Writer& writer) { write_greeting(3, writer); });
  const Greeting greeting = read_cut(bytes, read_greeting);
  EXPECT_FALSE(greeting.is_oldstyle);
  EXPECT_EQ(greeting.flags, 3U);
}

TEST(NbdHandshake, AnOldstyleGreetingIsKnown) {
  const auto bytes = written([](Writer& writer) {
    writer.put(kGreetingMagic).put(kOldstyleMagic).put(uint64_t{1} << 30).put(uint32_t{3});
    writer.put(std::vector<std::byte>(124));
  });
  const Greeting greeting = read_cut(bytes, read_greeting);
  EXPECT_TRUE(greeting.is_oldstyle);
  EXPECT_EQ(greeting.size, uint64_t{1} << 30);
  EXPECT_EQ(greeting.flags, 3U);
}

TEST(NbdHandshake, AnotherServerIsNamed) {
  const auto ssh = written([](Writer& writer) { writer.put("SSH-2.0-OpenSSH_9.2p1 Debian"); });
  EXPECT_THAT(read_greeting(ssh).why, HasSubstr("0x5353482d322e302d, and is no NBD server"));
  const auto other = written([](Writer& writer) { writer.put(kGreetingMagic).put(uint64_t{1}); });
  EXPECT_THAT(read_greeting(other).why, HasSubstr("unknown form"));
}

TEST(NbdHandshake, FactsAreReadAsTheyWereWritten) {
  for (const bool no_zeroes : {false, true}) {
    const auto bytes = written([&](Writer& writer) {
      write_export_facts({.size = 1000, .flags = 0x105}, no_zeroes, writer);
    });
    EXPECT_EQ(bytes.size(), no_zeroes ? 10U : 134U);
    const auto facts =
        read_cut(bytes, [&](Bytes part) { return read_export_facts(part, no_zeroes); });
    EXPECT_EQ(facts.size, 1000U);
    EXPECT_EQ(facts.flags, 0x105U);
  }
}

TEST(NbdHandshake, RepliesToOptionsAreReadAsTheyWereWritten) {
  const auto bytes = written([](Writer& writer) {
    write_option_reply(Option::go, OptionReplyType::unknown_export, {}, writer);
  });
  const OptionReply reply = read_cut(bytes, read_option_reply);
  EXPECT_EQ(reply.option, Option::go);
  EXPECT_EQ(reply.type, OptionReplyType::unknown_export);
  EXPECT_TRUE(is_error(reply.type));
}

// T1.5
TEST(NbdHandshake, AnEndlessReplyToAnOptionIsInvalid) {
  const auto bytes = written([](Writer& writer) {
    writer.put(kOptionReplyMagic).put(Option::go).put(OptionReplyType::invalid).put(UINT32_MAX);
  });
  EXPECT_THAT(read_option_reply(bytes).why, HasSubstr("4294967295 bytes"));
}

// The data of an option or reply has a length of its own: each shorter one is malformed.
template <typename Message, typename Read>
Message data_cut(const Message& message, const Read& read, bool ends_in_text) {
  const auto bytes = to_bytes(message);
  for (size_t length = 0; length < bytes.size() && !ends_in_text; ++length) {
    EXPECT_FALSE(read(Bytes(bytes).first(length))) << length;
  }
  return read(bytes).value();
}

TEST(NbdHandshake, DataIsReadAsItWasWritten) {
  const auto listed = data_cut(ListedExport{"disk", "of the guest"}, read_listed_export, true);
  EXPECT_EQ(listed.name, "disk");
  EXPECT_EQ(listed.description, "of the guest");
  const auto context = data_cut(MetaContext{7, "base:allocation"}, read_meta_context, true);
  EXPECT_EQ(context.id, 7U);
  EXPECT_EQ(context.name, "base:allocation");
  const auto facts = data_cut(Info{.facts = ExportFacts{5, 6}}, read_info, false);
  EXPECT_EQ(facts.facts->size, 5U);
  EXPECT_EQ(facts.facts->flags, 6U);
  const auto sizes = data_cut(Info{.block_sizes = BlockSizes{1, 4096, 1 << 25}}, read_info, false);
  EXPECT_EQ(sizes.block_sizes->minimum, 1U);
  EXPECT_EQ(sizes.block_sizes->preferred, 4096U);
  EXPECT_EQ(sizes.block_sizes->payload_max, 1U << 25);
  EXPECT_EQ(data_cut(Info{.name = "n"}, read_info, true).name, "n");
  EXPECT_EQ(data_cut(Info{.description = "d"}, read_info, true).description, "d");
  const auto query = data_cut(ExportQuery{"disk", {InfoType::name, InfoType::block_size}},
                              read_export_query, false);
  EXPECT_EQ(query.name, "disk");
  EXPECT_THAT(query.wanted, ElementsAre(InfoType::name, InfoType::block_size));
  const auto contexts =
      data_cut(ContextQuery{"disk", {"base:", "x-a:b"}}, read_context_query, false);
  EXPECT_EQ(contexts.export_name, "disk");
  EXPECT_THAT(contexts.queries, ElementsAre("base:", "x-a:b"));
}

// T1.3
TEST(NbdHandshake, LengthsThatAreTooLongAreMalformed) {
  const auto query = [](uint32_t name_bytes, uint32_t queries) {
    return written([&](Writer& writer) {
      writer.put(name_bytes).put("abcd").put(queries).put(uint32_t{1}).put("q");
    });
  };
  EXPECT_TRUE(read_context_query(query(4, 1)));
  EXPECT_FALSE(read_context_query(query(5, 1)));
  EXPECT_FALSE(read_context_query(query(UINT32_MAX, 1)));
  EXPECT_FALSE(read_context_query(query(4, 2)));
  EXPECT_FALSE(read_context_query(query(4, UINT32_MAX)));
  EXPECT_FALSE(read_context_query(query(4, 0))) << "something is left";
  const std::string name(kStringBytesMax, 'n');
  EXPECT_TRUE(read_export_query(to_bytes(ExportQuery{name, {}})));
  EXPECT_FALSE(read_export_query(to_bytes(ExportQuery{name + "n", {}})));
}

TEST(NbdHandshake, UnknownInformationIsNoError) {
  const auto bytes = written([](Writer& writer) { writer.put(uint16_t{99}).put("whatever"); });
  const auto info = read_info(bytes);
  ASSERT_TRUE(info);
  EXPECT_FALSE(info->facts || info->name || info->description || info->block_sizes);
}

}  // namespace
}  // namespace sluice::nbd::test
