// ServerHandshake: what a client may ask for, what it gets, and what ends the connection.
#include "nbd/server_handshake.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace sluice::nbd::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Notes whether somebody has looked at an export.
class TwoExports final : public Exports {
 public:
  std::vector<std::string> names() const override {
    ++looks;
    return {"disk", "other"};
  }
  const Export* find(std::string_view name) const override {
    ++looks;
    if (name == "disk") return &disk;
    return name == "other" ? &other : nullptr;
  }

  Export disk{.name = "disk",
              .description = "of the guest",
              .size = 1000,
              .flags = kSendFlush | kSendFua,
              .block_sizes = {.minimum = 1, .preferred = 4096, .payload_max = 32 << 20},
              .contexts = {"base:allocation", "qemu:dirty-bitmap:a", "qemu:dirty-bitmap:b"}};
  Export other{.name = "other",
               .description = {},
               .size = 5,
               .block_sizes = {},
               .contexts = {"base:allocation"}};
  mutable int looks = 0;
};

// One reply to an option.
struct Reply {
  OptionReplyType type = OptionReplyType::ack;
  std::vector<std::byte> data;

  std::string text() const { return {reinterpret_cast<const char*>(data.data()), data.size()}; }
};

struct Client {
  explicit Client(TlsPolicy policy = TlsPolicy::none, std::optional<uint32_t> flags = 3)
      : handshake(exports, policy) {
    if (flags) send([&](Writer& writer) { writer.put(*flags); });
  }

  void send(const auto& write) {
    std::vector<std::byte> bytes;
    Writer writer(bytes);
    write(writer);
    feed(bytes);
  }
  // As a connection does it.
  void feed(Bytes bytes) {
    waiting.insert(waiting.end(), bytes.begin(), bytes.end());
    const size_t used = handshake.feed(waiting, output);
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<ptrdiff_t>(used));
  }

  // The replies to one option.
  std::vector<Reply> ask(Option option, Bytes data = {}) {
    output.clear();
    send([&](Writer& writer) { write_option(option, data, writer); });
    return replies(option);
  }
  std::vector<Reply> replies(Option option) {
    std::vector<Reply> found;
    Bytes left = output;
    while (!left.empty()) {
      const auto header = read_option_reply(left);
      if (!header.is_whole()) break;
      EXPECT_EQ(header.message->option, option);
      left = left.subspan(header.bytes);
      const Bytes data = left.first(header.message->length);
      found.push_back({header.message->type, {data.begin(), data.end()}});
      left = left.subspan(data.size());
    }
    EXPECT_THAT(left, IsEmpty());
    return found;
  }
  OptionReplyType answer(Option option, Bytes data = {}) {
    const auto all = ask(option, data);
    return all.empty() ? OptionReplyType{} : all.back().type;
  }
  OptionReplyType go(const std::string& name) {
    return answer(Option::go, to_bytes(ExportQuery{name, {}}));
  }
  std::vector<std::string> contexts(Option option, const ContextQuery& query) {
    std::vector<std::string> names;
    for (const Reply& reply : ask(option, to_bytes(query))) {
      if (reply.type != OptionReplyType::meta_context) continue;
      names.push_back(read_meta_context(reply.data)->name);
    }
    return names;
  }

  TwoExports exports;
  ServerHandshake handshake;
  std::vector<std::byte> waiting;
  std::vector<std::byte> output;
};

using ServerState = ServerHandshake::State;

TEST(NbdServerHandshake, GreetsWithFixedNewstyle) {
  std::vector<std::byte> bytes;
  ServerHandshake::greet(bytes);
  EXPECT_EQ(read_greeting(bytes).message->flags, kFixedNewstyle | kNoZeroes);
}

TEST(NbdServerHandshake, GoDescribesTheExport) {
  Client client;
  const auto replies = client.ask(
      Option::go,
      to_bytes(ExportQuery{"", {InfoType::name, InfoType::description, InfoType::block_size}}));
  ASSERT_THAT(replies, SizeIs(5));
  const auto facts = read_info(replies[0].data)->facts;
  EXPECT_EQ(facts->size, 1000U);
  EXPECT_EQ(facts->flags, kHasFlags | kSendFlush | kSendFua);
  EXPECT_EQ(read_info(replies[1].data)->name, "disk") << "the default export";
  EXPECT_EQ(read_info(replies[2].data)->description, "of the guest");
  EXPECT_EQ(read_info(replies[3].data)->block_sizes->payload_max, 32U << 20);
  EXPECT_EQ(replies[4].type, OptionReplyType::ack);
  EXPECT_EQ(client.handshake.state(), ServerState::transmission);
  EXPECT_EQ(client.handshake.agreed().chosen->name, "disk");
  EXPECT_EQ(client.handshake.agreed().headers, Headers::simple);
}

TEST(NbdServerHandshake, InfoStaysInTheHandshake) {
  Client client;
  EXPECT_EQ(client.answer(Option::info, to_bytes(ExportQuery{"other", {}})), OptionReplyType::ack);
  EXPECT_EQ(client.handshake.state(), ServerState::options);
  EXPECT_EQ(client.go("none"), OptionReplyType::unknown_export);
  EXPECT_EQ(client.handshake.state(), ServerState::options);
  EXPECT_EQ(client.go("other"), OptionReplyType::ack);
}

TEST(NbdServerHandshake, RequestsBehindGoAreLeftAlone) {
  Client client;
  client.send([](Writer& writer) {
    write_option(Option::go, to_bytes(ExportQuery{"disk", {}}), writer);
    writer.put(kRequestMagic);
  });
  EXPECT_EQ(client.handshake.state(), ServerState::transmission);
  EXPECT_THAT(client.waiting, SizeIs(4));
}

TEST(NbdServerHandshake, ExportNameIsServedWithAndWithoutZeroes) {
  for (const uint32_t flags : {0U, 1U, 3U}) {
    Client client(TlsPolicy::none, flags);
    client.send([](Writer& writer) {
      write_option(Option::export_name, std::as_bytes(std::span("disk", 4)), writer);
    });
    EXPECT_THAT(client.output, SizeIs((flags & kNoZeroes) != 0 ? 10 : 134));
    EXPECT_EQ(read_export_facts(client.output, true).message->size, 1000U);
    EXPECT_EQ(client.handshake.state(), ServerState::transmission);
  }
}

// T1.2
TEST(NbdServerHandshake, ExportNameCannotBeRefused) {
  for (const std::string& name : {std::string("none"), std::string(5000, 'n')}) {
    Client client;
    client.send([&](Writer& writer) {
      write_option(Option::export_name, std::as_bytes(std::span(name)), writer);
    });
    EXPECT_EQ(client.handshake.state(), ServerState::ended);
    EXPECT_THAT(client.output, IsEmpty());
  }
}

TEST(NbdServerHandshake, ListsAllExports) {
  Client client;
  const auto replies = client.ask(Option::list);
  ASSERT_THAT(replies, SizeIs(3));
  EXPECT_EQ(read_listed_export(replies[0].data)->name, "disk");
  EXPECT_EQ(read_listed_export(replies[0].data)->description, "of the guest");
  EXPECT_EQ(read_listed_export(replies[1].data)->name, "other");
  EXPECT_EQ(replies[2].type, OptionReplyType::ack);
}

TEST(NbdServerHandshake, AbortIsAnswered) {
  Client client;
  EXPECT_EQ(client.answer(Option::abort), OptionReplyType::ack);
  EXPECT_EQ(client.handshake.state(), ServerState::ended);
  EXPECT_THAT(client.handshake.why(), IsEmpty());
}

TEST(NbdServerHandshake, StructuredRepliesComeWithDf) {
  Client client;
  EXPECT_EQ(client.answer(Option::structured_reply), OptionReplyType::ack);
  const auto replies = client.ask(Option::go, to_bytes(ExportQuery{"disk", {}}));
  EXPECT_NE(read_info(replies[0].data)->facts->flags & kSendDf, 0);
  EXPECT_EQ(client.handshake.agreed().headers, Headers::structured);
}

TEST(NbdServerHandshake, ExtendedHeadersTakePrecedence) {
  Client client;
  EXPECT_EQ(client.answer(Option::structured_reply), OptionReplyType::ack);
  EXPECT_EQ(client.answer(Option::extended_headers), OptionReplyType::ack);
  EXPECT_EQ(client.answer(Option::structured_reply), OptionReplyType::extended_headers_required);
  client.contexts(Option::set_meta_context, {"disk", {"base:allocation"}});
  const auto replies = client.ask(Option::go, to_bytes(ExportQuery{"disk", {}}));
  EXPECT_NE(read_info(replies[0].data)->facts->flags & kBlockStatusPayload, 0);
  EXPECT_EQ(client.handshake.agreed().headers, Headers::extended);

  Client old_way;
  EXPECT_EQ(old_way.answer(Option::extended_headers), OptionReplyType::ack);
  old_way.send([](Writer& writer) { write_option(Option::export_name, {}, writer); });
  EXPECT_EQ(old_way.handshake.state(), ServerState::ended);
}

TEST(NbdServerHandshake, ContextsAreListedByPrefixAndChosenByName) {
  Client client;
  client.answer(Option::structured_reply);
  constexpr Option kList = Option::list_meta_context;
  constexpr Option kSet = Option::set_meta_context;
  EXPECT_THAT(client.contexts(kList, {"disk", {}}), SizeIs(3));
  EXPECT_THAT(client.contexts(kList, {"disk", {"base:"}}), ElementsAre("base:allocation"));
  EXPECT_THAT(client.contexts(kList, {"disk", {"qemu:dirty-bitmap:"}}), SizeIs(2));
  EXPECT_THAT(client.contexts(kList, {"disk", {"x-none:", "base:none"}}), IsEmpty());
  EXPECT_THAT(client.contexts(kSet, {"disk", {"base:"}}), IsEmpty());
  EXPECT_THAT(client.contexts(kSet, {"disk", {"qemu:dirty-bitmap:b", "base:allocation"}}),
              ElementsAre("base:allocation", "qemu:dirty-bitmap:b"));
  client.go("disk");
  const auto& chosen = client.handshake.agreed().contexts;
  ASSERT_THAT(chosen, SizeIs(2));
  EXPECT_NE(chosen[0].id, chosen[1].id);
}

TEST(NbdServerHandshake, ContextsOfAnotherExportOrOfAFailedOptionDoNotCount) {
  const ContextQuery query{"disk", {"base:allocation"}};
  Client client;
  EXPECT_EQ(client.answer(Option::set_meta_context, to_bytes(query)), OptionReplyType::invalid)
      << "without structured replies";
  client.answer(Option::structured_reply);
  EXPECT_THAT(client.contexts(Option::set_meta_context, query), SizeIs(1));
  client.go("other");
  EXPECT_THAT(client.handshake.agreed().contexts, IsEmpty());

  Client second;
  second.answer(Option::structured_reply);
  second.contexts(Option::set_meta_context, query);
  EXPECT_EQ(second.answer(Option::set_meta_context, to_bytes(ContextQuery{"none", {}})),
            OptionReplyType::unknown_export);
  second.go("disk");
  EXPECT_THAT(second.handshake.agreed().contexts, IsEmpty());
}

// T1.2, T1.3
TEST(NbdServerHandshake, ARefusedOptionLeavesTheNextOneInStep) {
  const std::vector<std::byte> junk(60'000, std::byte{0xa5});
  Client client(TlsPolicy::required);
  for (const uint32_t number : {3U, 6U, 7U, 8U, 9U, 10U, 11U, 99U}) {
    for (const size_t length : {size_t{0}, size_t{1}, junk.size()}) {
      const auto option = static_cast<Option>(number);
      EXPECT_EQ(client.answer(option, Bytes(junk).first(length)), OptionReplyType::tls_required);
    }
  }
  EXPECT_EQ(client.answer(Option::starttls, junk), OptionReplyType::invalid);
  EXPECT_EQ(client.answer(Option::starttls), OptionReplyType::ack);
  client.handshake.tls_started();
  for (const uint32_t number : {3U, 5U, 6U, 7U, 8U, 9U, 10U, 11U, 99U}) {
    EXPECT_TRUE(is_error(client.answer(static_cast<Option>(number), junk))) << number;
  }
  EXPECT_THAT(client.ask(Option::list), SizeIs(3));
}

// T1.7
TEST(NbdServerHandshake, NoExportIsLookedAtBeforeTls) {
  Client client(TlsPolicy::required);
  client.answer(Option::list);
  client.go("disk");
  client.contexts(Option::list_meta_context, {"disk", {}});
  client.send([](Writer& writer) { write_option(Option::export_name, {}, writer); });
  EXPECT_EQ(client.handshake.state(), ServerState::ended);
  EXPECT_EQ(client.exports.looks, 0);
}

// T1.1
TEST(NbdServerHandshake, TlsResetsAllThatWasAgreedOn) {
  Client client(TlsPolicy::offered);
  client.answer(Option::structured_reply);
  client.contexts(Option::set_meta_context, {"disk", {"base:allocation"}});
  EXPECT_EQ(client.answer(Option::starttls), OptionReplyType::ack);
  EXPECT_EQ(client.handshake.state(), ServerState::starting_tls);
  client.handshake.tls_started();
  EXPECT_EQ(client.answer(Option::starttls), OptionReplyType::invalid) << "once";
  client.go("disk");
  EXPECT_EQ(client.handshake.agreed().headers, Headers::simple);
  EXPECT_THAT(client.handshake.agreed().contexts, IsEmpty());
}

// T1.1
TEST(NbdServerHandshake, PlaintextBehindStartTlsEndsTheConnection) {
  Client client(TlsPolicy::offered);
  client.send([](Writer& writer) {
    write_option(Option::starttls, {}, writer);
    write_option(Option::structured_reply, {}, writer);
  });
  EXPECT_EQ(client.handshake.state(), ServerState::ended);
  EXPECT_THAT(client.handshake.why(), HasSubstr("before TLS has begun"));
}

TEST(NbdServerHandshake, WithoutTlsStartTlsIsRefused) {
  Client client;
  EXPECT_EQ(client.answer(Option::starttls), OptionReplyType::policy);
  EXPECT_EQ(client.handshake.state(), ServerState::options);
}

// T1.4
TEST(NbdServerHandshake, AnEndlessOptionEndsTheConnectionAtItsHeader) {
  for (const uint32_t length : {(64U << 10) + 1, UINT32_MAX}) {
    Client client;
    client.send([&](Writer& writer) { writer.put(kOptionMagic).put(Option::go).put(length); });
    EXPECT_EQ(client.handshake.state(), ServerState::ended);
    EXPECT_THAT(client.handshake.why(), HasSubstr("65536 are the limit"));
  }
}

TEST(NbdServerHandshake, NonsenseEndsTheConnection) {
  Client flags(TlsPolicy::none, 0x83);
  EXPECT_EQ(flags.handshake.state(), ServerState::ended);
  Client magic;
  magic.send([](Writer& writer) { writer.put(uint64_t{1}).put(uint64_t{2}); });
  EXPECT_EQ(magic.handshake.state(), ServerState::ended);
  Client not_fixed(TlsPolicy::none, 0);
  not_fixed.send([](Writer& writer) { write_option(Option::list, {}, writer); });
  EXPECT_EQ(not_fixed.handshake.state(), ServerState::ended);
}

// T1.8: whatever way the bytes are cut, the outcome is the same.
TEST(NbdServerHandshake, TakesItsBytesInAnyPieces) {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  writer.put(uint32_t{3});
  write_option(Option::list, {}, writer);
  write_option(Option::structured_reply, {}, writer);
  write_option(static_cast<Option>(77), std::vector<std::byte>(100), writer);
  write_option(Option::set_meta_context, to_bytes(ContextQuery{"disk", {"base:allocation"}}),
               writer);
  write_option(Option::go, to_bytes(ExportQuery{"disk", {InfoType::name}}), writer);
  const auto run = [&](const auto& piece) {
    Client client(TlsPolicy::none, std::nullopt);
    for (size_t begin = 0; begin < bytes.size();) {
      const size_t length = std::min(piece(), bytes.size() - begin);
      client.feed(Bytes(bytes).subspan(begin, length));
      begin += length;
    }
    EXPECT_EQ(client.handshake.state(), ServerState::transmission);
    EXPECT_THAT(client.waiting, IsEmpty());
    return client.output;
  };
  const auto whole = run([&] { return bytes.size(); });
  EXPECT_EQ(run([] { return size_t{1}; }), whole);
  std::minstd_rand random(1);
  for (int times = 0; times < 100; ++times) {
    EXPECT_EQ(run([&] { return size_t{1} + random() % 50; }), whole);
  }
}

}  // namespace
}  // namespace sluice::nbd::test
