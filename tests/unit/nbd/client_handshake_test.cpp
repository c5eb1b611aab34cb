// ClientHandshake: against our own server, in pieces of any size, and against servers that are old,
// that refuse, and that lie.
#include "nbd/client_handshake.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "nbd/server_handshake.hpp"

namespace sluice::nbd::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

using State = ClientHandshake::State;
using Tls = ClientHandshake::Tls;
using Wish = ClientHandshake::Wish;

class OneExport final : public Exports {
 public:
  std::vector<std::string> names() const override { return {disk.name}; }
  const Export* find(std::string_view name) const override {
    return name == disk.name ? &disk : nullptr;
  }
  Export disk{.name = "disk",
              .description = {},
              .size = 1000,
              .flags = kSendFlush,
              .block_sizes = {.minimum = 1, .preferred = 4096, .payload_max = 1 << 20},
              .contexts = {"base:allocation"}};
};

// Bytes under way to one end.
struct Pipe {
  std::vector<std::byte> sent;
  std::vector<std::byte> waiting;

  // Feeds the end with the next `most` bytes; false: there are none.
  bool deliver(size_t most, const auto& feed) {
    if (sent.empty()) return false;
    const auto end = sent.begin() + static_cast<ptrdiff_t>(std::min(most, sent.size()));
    waiting.insert(waiting.end(), sent.begin(), end);
    sent.erase(sent.begin(), end);
    const size_t used = feed(waiting);
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<ptrdiff_t>(used));
    return true;
  }
};

// Lets both ends talk until neither has anything to say.
struct Talk {
  Talk(
      Wish wish, TlsPolicy policy, std::function<size_t()> piece = [] { return SIZE_MAX; })
      : client(std::move(wish)), server(exports, policy) {
    Pipe up;
    Pipe down;
    ServerHandshake::greet(down.sent);
    while (true) {
      bool moved = down.deliver(piece(), [&](Bytes bytes) { return client.feed(bytes, up.sent); });
      moved |= up.deliver(piece(), [&](Bytes bytes) { return server.feed(bytes, down.sent); });
      if (moved) continue;
      if (client.state() != State::starting_tls) break;
      server.tls_started();
      client.tls_started(up.sent);
    }
    EXPECT_THAT(down.waiting, IsEmpty());
  }

  OneExport exports;
  ClientHandshake client;
  ServerHandshake server;
};

TEST(NbdClientHandshake, AgreesWithOurServer) {
  for (const Headers headers : {Headers::simple, Headers::structured, Headers::extended}) {
    for (const TlsPolicy policy : {TlsPolicy::none, TlsPolicy::offered, TlsPolicy::required}) {
      for (const std::string& name : {std::string(), std::string("disk")}) {
        const Talk talk({.export_name = name, .headers = headers, .tls = Tls::if_offered}, policy);
        ASSERT_EQ(talk.client.state(), State::transmission) << talk.client.why();
        EXPECT_EQ(talk.server.state(), ServerHandshake::State::transmission);
        const auto& agreed = talk.client.agreed();
        EXPECT_EQ(agreed.headers, headers);
        EXPECT_EQ(agreed.headers, talk.server.agreed().headers);
        EXPECT_EQ(agreed.size, 1000U);
        EXPECT_NE(agreed.flags & kSendFlush, 0);
        EXPECT_EQ(agreed.block_sizes.payload_max, 1U << 20);
        ASSERT_EQ(agreed.allocation_context.has_value(), headers != Headers::simple);
        if (agreed.allocation_context) {
          EXPECT_EQ(agreed.allocation_context, talk.server.agreed().contexts.at(0).id);
        }
      }
    }
  }
}

// T2.9, T2.12: whatever way the bytes are cut.
TEST(NbdClientHandshake, TakesItsBytesInAnyPieces) {
  std::minstd_rand random(1);
  for (int times = 0; times < 200; ++times) {
    const size_t most = times == 0 ? 1 : 40;
    const Talk talk({.export_name = "disk"}, TlsPolicy::none,
                    [&] { return size_t{1} + random() % most; });
    EXPECT_EQ(talk.client.state(), State::transmission) << talk.client.why();
  }
}

TEST(NbdClientHandshake, AnUnknownExportListsThoseThatExist) {
  const Talk talk({.export_name = "none"}, TlsPolicy::none);
  EXPECT_EQ(talk.client.state(), State::failed);
  EXPECT_EQ(talk.client.why(), "it has no export 'none': there is 'disk'");
}

// T2.7
TEST(NbdClientHandshake, RequiredTlsIsNeverGivenUp) {
  const Talk talk({.tls = Tls::required}, TlsPolicy::none);
  EXPECT_EQ(talk.client.state(), State::failed);
  EXPECT_EQ(talk.client.why(), "it refuses TLS, which is required");
  EXPECT_NE(talk.server.state(), ServerHandshake::State::transmission);
}

TEST(NbdClientHandshake, AServerThatRequiresTlsSaysSo) {
  const Talk talk({.tls = Tls::none}, TlsPolicy::required);
  EXPECT_EQ(talk.client.why(), "it requires TLS: use nbds://");
}

// A server whose messages the test writes.
struct Scripted {
  explicit Scripted(Wish wish = {}, uint16_t flags = kFixedNewstyle | kNoZeroes)
      : client(std::move(wish)) {
    send([&](Writer& writer) { write_greeting(flags, writer); });
  }
  void send(const auto& write) {
    std::vector<std::byte> bytes;
    Writer writer(bytes);
    write(writer);
    output.clear();
    client.feed(bytes, output);
  }
  void reply(Option option, OptionReplyType type, Bytes data = {}) {
    send([&](Writer& writer) { write_option_reply(option, type, data, writer); });
  }
  // The option that the client asks for now.
  Option asked(size_t skip = 0) const {
    return read_option(Bytes(output).subspan(skip)).message.value().option;
  }
  void go(const ExportFacts& facts, std::optional<BlockSizes> sizes = {}) {
    reply(Option::go, OptionReplyType::info, to_bytes(Info{.facts = facts}));
    if (sizes) reply(Option::go, OptionReplyType::info, to_bytes(Info{.block_sizes = sizes}));
    reply(Option::go, OptionReplyType::ack);
  }

  ClientHandshake client;
  std::vector<std::byte> output;
};

const Wish kSimple{.headers = Headers::simple};

TEST(NbdClientHandshake, FallsBackToStructuredRepliesAndExportName) {
  Scripted server({.export_name = "disk"});
  EXPECT_EQ(server.asked(kClientFlagsBytes), Option::extended_headers);
  server.reply(Option::extended_headers, OptionReplyType::unsupported);
  EXPECT_EQ(server.asked(), Option::structured_reply);
  server.reply(Option::structured_reply, OptionReplyType::unsupported);
  EXPECT_EQ(server.asked(), Option::go);
  server.reply(Option::go, OptionReplyType::unsupported);
  EXPECT_EQ(server.asked(), Option::export_name);
  server.send([](Writer& writer) { write_export_facts({5000, kHasFlags}, true, writer); });
  EXPECT_EQ(server.client.state(), State::transmission);
  EXPECT_EQ(server.client.agreed().size, 5000U);
  EXPECT_EQ(server.client.agreed().headers, Headers::simple);
  EXPECT_EQ(server.client.agreed().block_sizes.payload_max, kDefaultPayloadMax);
}

TEST(NbdClientHandshake, SpeaksToServersThatAreNotFixed) {
  for (const uint16_t flags : {uint16_t{0}, uint16_t{kNoZeroes}}) {
    Scripted server({.export_name = "disk"}, flags);
    EXPECT_EQ(server.asked(kClientFlagsBytes), Option::export_name);
    server.send([&](Writer& writer) { write_export_facts({5000, 1}, flags != 0, writer); });
    EXPECT_EQ(server.client.state(), State::transmission);
  }
  const Scripted tls({.tls = Tls::required}, 0);
  EXPECT_EQ(tls.client.state(), State::failed);
}

TEST(NbdClientHandshake, OldstyleIsServedForTheDefaultExportOnly) {
  const auto greeting = [](Writer& writer) {
    writer.put(kGreetingMagic).put(kOldstyleMagic).put(uint64_t{4096}).put(uint32_t{1});
    writer.put(std::vector<std::byte>(124));
  };
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  greeting(writer);
  std::vector<std::byte> output;
  ClientHandshake plain({});
  EXPECT_EQ(plain.feed(bytes, output), bytes.size());
  EXPECT_EQ(plain.state(), State::transmission);
  EXPECT_EQ(plain.agreed().size, 4096U);
  ClientHandshake named({.export_name = "disk"});
  named.feed(bytes, output);
  EXPECT_THAT(named.why(), HasSubstr("which has no names: use it without 'disk'"));
  ClientHandshake tls({.tls = Tls::required});
  tls.feed(bytes, output);
  EXPECT_THAT(tls.why(), HasSubstr("which has no TLS"));
  EXPECT_THAT(output, IsEmpty());
}

// T2.10
TEST(NbdClientHandshake, AContextBeforeAnErrorDoesNotCount) {
  Scripted server;
  server.reply(Option::extended_headers, OptionReplyType::ack);
  EXPECT_EQ(server.asked(), Option::set_meta_context);
  server.reply(Option::set_meta_context, OptionReplyType::meta_context,
               to_bytes(MetaContext{7, std::string(kAllocationContext)}));
  server.reply(Option::set_meta_context, OptionReplyType::too_big);
  EXPECT_EQ(server.asked(), Option::go);
  server.go({4096, kHasFlags});
  EXPECT_EQ(server.client.state(), State::transmission);
  EXPECT_FALSE(server.client.agreed().allocation_context);
}

TEST(NbdClientHandshake, OtherContextsAreIgnored) {
  Scripted server;
  server.reply(Option::extended_headers, OptionReplyType::ack);
  server.reply(Option::set_meta_context, OptionReplyType::meta_context,
               to_bytes(MetaContext{7, "x-what:ever"}));
  server.reply(Option::set_meta_context, OptionReplyType::ack);
  server.go({4096, kHasFlags});
  EXPECT_FALSE(server.client.agreed().allocation_context);
}

// T2.5
TEST(NbdClientHandshake, ImpossibleSizesAreRefusedWithTheirValue) {
  const auto fault = [](uint64_t size, std::optional<BlockSizes> sizes = {}) {
    Scripted server(kSimple);
    server.go({size, kHasFlags}, sizes);
    EXPECT_EQ(server.client.state(), State::failed);
    return server.client.why();
  };
  EXPECT_THAT(fault(uint64_t{1} << 63), StartsWith("its size is 9223372036854775808 bytes"));
  EXPECT_THAT(fault(4096, BlockSizes{0, 4096, 1 << 20}), HasSubstr("smallest block has 0 bytes"));
  EXPECT_THAT(fault(4096, BlockSizes{3, 4096, 1 << 20}), HasSubstr("smallest block has 3 bytes"));
  EXPECT_THAT(fault(4096, BlockSizes{1 << 17, 1 << 17, 1 << 20}), HasSubstr("131072 bytes"));
  EXPECT_THAT(fault(4096, BlockSizes{512, 0, 1 << 20}), HasSubstr("preferred block has 0 bytes"));
  EXPECT_THAT(fault(4096, BlockSizes{4096, 512, 1 << 20}), HasSubstr("preferred block has 512"));
  EXPECT_THAT(fault(4096, BlockSizes{4096, 4096, 512}), HasSubstr("at most 512 bytes"));
}

TEST(NbdClientHandshake, ALyingServerIsRefused) {
  const auto fault = [](const auto& lie) {
    Scripted server(kSimple);
    lie(server);
    EXPECT_EQ(server.client.state(), State::failed);
    return server.client.why();
  };
  EXPECT_THAT(fault([](Scripted& server) { server.reply(Option::go, OptionReplyType::ack); }),
              HasSubstr("does not say how large"));
  EXPECT_THAT(fault([](Scripted& server) { server.reply(Option::list, OptionReplyType::ack); }),
              HasSubstr("answers option 3 where 7 was asked"));
  EXPECT_THAT(
      fault([](Scripted& server) { server.reply(Option::go, static_cast<OptionReplyType>(5)); }),
      HasSubstr("unknown type 5"));
  EXPECT_THAT(fault([](Scripted& server) {
                server.reply(Option::go, OptionReplyType::info, std::vector<std::byte>(7));
              }),
              HasSubstr("makes no sense"));
  EXPECT_THAT(fault([](Scripted& server) {
                server.reply(Option::go, OptionReplyType::policy,
                             std::as_bytes(std::span("not \x1b[2Jyou", 12)));
              }),
              HasSubstr("refuses default export: not "));
}

TEST(NbdClientHandshake, APlainServerBehindItsTlsConsentIsRefused) {
  Scripted server({.tls = Tls::required});
  server.send([](Writer& writer) {
    write_option_reply(Option::starttls, OptionReplyType::ack, {}, writer);
    write_option_reply(Option::starttls, OptionReplyType::ack, {}, writer);
  });
  EXPECT_EQ(server.client.state(), State::failed);
}

}  // namespace
}  // namespace sluice::nbd::test
