// Target nbd under servers that lie, stammer or die. T2.x are the traps of NBD clients.
#include "unit/target/nbd/nbd_rig.hpp"

namespace sluice::nbd::test {
namespace {

struct NbdAnswersTest : NbdTargetTest {
  // One lie in answer to the first READ; afterwards, and on later connections, the truth.
  void lie(std::function<void(NbdPeer&, const NbdPeer::Asked&)> lie, Headers headers) {
    auto facts = NbdTargetTest::facts();
    facts.headers = headers;
    std::ranges::copy(bytes_of(kSize, 1), disk.bytes().begin());
    script({[this, lie = std::move(lie)](NbdPeer& peer) {
              while (const auto asked = peer.next()) {
                if (!lied_ && asked->header.command == Command::read) {
                  lied_ = true;
                  lie(peer, *asked);
                } else {
                  disk.serve(peer, *asked);
                }
              }
            },
            honest()},
           facts);
    serve_remote("reconnect=20s, timeout=20s");
  }
  Bytes truth(const RequestHeader& asked) {
    return Bytes(disk.bytes()).subspan(asked.offset, asked.length);
  }
  void expect_read(NbdClient& client, uint64_t offset, uint64_t length) {
    const auto reply = client.read(offset, length);
    EXPECT_EQ(reply.error, 0);
    EXPECT_TRUE(std::ranges::equal(reply.data, Bytes(disk.bytes()).subspan(offset, length)));
  }

  // Both answers of each pair, the later parts first.
  NbdPeer::Data answer_pairs(NbdPeer& peer) {
    NbdPeer::Data all;
    const auto add = [&all](const NbdPeer::Data& bytes) {
      all.insert(all.end(), bytes.begin(), bytes.end());
    };
    for (const bool is_last : {false, true}) {
      for (const NbdPeer::Asked& each : pairs_) {
        const uint64_t half = each.header.length / 2;
        const uint64_t begin = is_last ? 0 : half;
        if (peer.headers() != Headers::simple) {
          add(peer.part(each.header, each.header.offset + begin,
                        truth(each.header).subspan(begin, half), is_last));
        } else if (is_last) {
          add(disk.reply(peer, each));
        }
      }
    }
    pairs_.clear();
    return all;
  }

  static constexpr size_t kReads = 8;  // as many as the export takes at a time

  // Of the scripts, which may outlive the body of a test.
  std::vector<NbdPeer::Asked> pairs_;
  bool lied_ = false;
  int query_ = 0;
  std::atomic<uint64_t> longest_ = 0;
};

struct NbdHeadersTest : NbdAnswersTest, testing::WithParamInterface<Headers> {};
INSTANTIATE_TEST_SUITE_P(AllHeaders, NbdHeadersTest,
                         testing::Values(Headers::simple, Headers::structured, Headers::extended));

TEST_P(NbdHeadersTest, ServesEveryCommand) {
  auto facts = NbdTargetTest::facts();
  facts.headers = GetParam();
  script({honest()}, facts);
  serve_remote();
  auto client = this->client();
  const auto data = bytes_of(128 << 10, 2);
  EXPECT_EQ(client.write(4096, data), 0);
  EXPECT_EQ(client.write(0, Bytes(data).first(512), kFua), 0);
  EXPECT_EQ(client.read(4096, data.size()).data, data);
  EXPECT_EQ(client.read(0, 512).data, std::vector(data.begin(), data.begin() + 512));
  EXPECT_EQ(client.command(Command::flush, 0, 0).error, 0);
  EXPECT_EQ(client.command(Command::trim, 0, 4096).error, 0);
  EXPECT_EQ(client.command(Command::write_zeroes, 0, 4096).error, 0);
  EXPECT_EQ(number("reconnects"), 0U);
}

// T2.12: whatever the pieces are in which an answer arrives.
TEST_P(NbdHeadersTest, AnswersMayComeByteByByte) {
  auto facts = NbdTargetTest::facts();
  facts.headers = GetParam();
  std::ranges::copy(bytes_of(kSize, 1), disk.bytes().begin());
  script({[this](NbdPeer& peer) {
           while (const auto asked = peer.next()) peer.send_slowly(disk.reply(peer, *asked));
         }},
         facts);
  serve_remote();
  auto client = this->client();
  expect_read(client, 512, 1024);
  expect_read(client, 0, 512);
  EXPECT_EQ(client.command(Command::flush, 0, 0).error, 0);
  EXPECT_EQ(number("reconnects"), 0U);
}

// The answers to many reads in one message, each read's parts among those of the next one.
TEST_P(NbdHeadersTest, AnswersMayComeTogether) {
  auto facts = NbdTargetTest::facts();
  facts.headers = GetParam();
  std::ranges::copy(bytes_of(kSize, 1), disk.bytes().begin());
  script({[this](NbdPeer& peer) {
           while (const auto first = peer.next()) {
             const auto second = peer.next();
             if (!second) break;
             pairs_.insert(pairs_.end(), {*second, *first});
             if (pairs_.size() == kReads) peer.send(answer_pairs(peer));
           }
         }},
         facts);
  serve_remote();
  auto client = this->client();
  for (uint64_t i = 0; i < kReads; ++i) {
    client.ask({.command = Command::read, .cookie = i, .offset = i * 4096, .length = 1024});
  }
  for (size_t i = 0; i < kReads; ++i) {
    const auto reply = client.reply(1024);
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->error, 0);
    EXPECT_TRUE(
        std::ranges::equal(reply->data, Bytes(disk.bytes()).subspan(reply->cookie * 4096, 1024)));
  }
  EXPECT_EQ(number("reconnects"), 0U);
}

// T2.11, in one message.
TEST_P(NbdHeadersTest, AnAnswerThatComesTwiceEndsTheConnection) {
  lie(
      [this](NbdPeer& peer, const NbdPeer::Asked& asked) {
        auto twice = peer.reply_to(asked, 0, truth(asked.header));
        const auto again = twice;
        twice.insert(twice.end(), again.begin(), again.end());
        peer.send(twice);
      },
      GetParam());
  auto client = this->client();
  expect_read(client, 0, 4096);
  expect_read(client, 8192, 4096);
  EXPECT_TRUE(soon([this] { return number("reconnects") == 1; }));
}

// T2.3, T2.4: the error reaches the client, and no byte of what came before it.
TEST_P(NbdHeadersTest, ErrorsReachTheClient) {
  lie([](NbdPeer& peer, const NbdPeer::Asked& asked) { peer.answer(asked, ENOSPC); }, GetParam());
  auto client = this->client();
  EXPECT_EQ(client.read(0, 4096).error, ENOSPC);
  expect_read(client, 0, 4096);
}

// T2.1: chunks that cover half of the range, the same bytes in number.
TEST_F(NbdAnswersTest, AGapFailsTheRead) {
  lie(
      [this](NbdPeer& peer, const NbdPeer::Asked& asked) {
        peer.send(peer.part(asked.header, asked.header.offset,
                            truth(asked.header).first(asked.header.length / 2), true));
      },
      Headers::structured);
  auto client = this->client();
  const auto reply = client.read(0, 8192);
  EXPECT_EQ(reply.error, EIO);
  EXPECT_TRUE(reply.data.empty());
  expect_read(client, 0, 8192);
  EXPECT_EQ(number("reconnects"), 0U);
}

TEST_F(NbdAnswersTest, BytesThatComeTwiceDoNotFillAGap) {
  lie(
      [this](NbdPeer& peer, const NbdPeer::Asked& asked) {
        const Bytes half = truth(asked.header).first(asked.header.length / 2);
        peer.send(peer.part(asked.header, asked.header.offset, half, false));
        peer.send(peer.part(asked.header, asked.header.offset, half, true));
      },
      Headers::extended);
  auto client = this->client();
  expect_read(client, 0, 8192);  // from another connection
  EXPECT_EQ(number("reconnects"), 1U);
}

TEST_F(NbdAnswersTest, ChunksMayComeInAnyOrder) {
  lie(
      [this](NbdPeer& peer, const NbdPeer::Asked& asked) {
        const Bytes all = truth(asked.header);
        for (const size_t part : {3U, 0U, 2U, 1U}) {
          peer.send(peer.part(asked.header, asked.header.offset + part * 2048,
                              all.subspan(part * 2048, 2048), part == 1));
        }
      },
      Headers::structured);
  auto client = this->client();
  expect_read(client, 4096, 8192);
  EXPECT_EQ(number("reconnects"), 0U);
}

TEST_F(NbdAnswersTest, HolesAreZeroes) {
  lie(
      [this](NbdPeer& peer, const NbdPeer::Asked& asked) {
        std::vector<std::byte> hole;
        Writer(hole).put(asked.header.offset).put(uint32_t{4096});
        peer.send(peer.chunk(asked.header, ChunkType::offset_hole, false, hole));
        peer.send(peer.part(asked.header, asked.header.offset + 4096,
                            truth(asked.header).subspan(4096), true));
      },
      Headers::extended);
  std::fill_n(disk.bytes().begin(), 4096, std::byte{0});
  auto client = this->client();
  expect_read(client, 0, 32768);
}

// T2.11: a cookie that nobody gave out, an answer in another form than agreed on.
TEST_F(NbdAnswersTest, AnUnknownCookieEndsTheConnectionAndNoOtherRequest) {
  lie(
      [this](NbdPeer& peer, const NbdPeer::Asked& asked) {
        NbdPeer::Asked other = asked;
        other.header.cookie ^= uint64_t{1} << 40;
        peer.answer(other, 0, truth(asked.header));
      },
      Headers::structured);
  auto client = this->client();
  expect_read(client, 0, 4096);
  EXPECT_EQ(number("reconnects"), 1U);
}

TEST_F(NbdAnswersTest, ASimpleAnswerToAStructuredReadEndsTheConnection) {
  lie(
      [](NbdPeer& peer, const NbdPeer::Asked& asked) {
        std::vector<std::byte> bytes(kSimpleReplyBytes);
        write_reply({.is_simple = true, .cookie = asked.header.cookie}, Headers::simple, bytes);
        peer.send(bytes);
      },
      Headers::structured);
  auto client = this->client();
  expect_read(client, 0, 4096);
  EXPECT_EQ(number("reconnects"), 1U);
}

TEST_F(NbdAnswersTest, DataOutsideTheRangeEndsTheConnection) {
  lie(
      [this](NbdPeer& peer, const NbdPeer::Asked& asked) {
        peer.send(peer.part(asked.header, asked.header.offset + 4096, truth(asked.header), true));
      },
      Headers::structured);
  auto client = this->client();
  expect_read(client, 8192, 8192);
  EXPECT_EQ(number("reconnects"), 1U);
}

TEST_F(NbdAnswersTest, GarbageEndsTheConnection) {
  lie([](NbdPeer& peer, const NbdPeer::Asked&) { peer.send(bytes_of(100, 7)); }, Headers::extended);
  auto client = this->client();
  expect_read(client, 0, 4096);
  EXPECT_EQ(number("reconnects"), 1U);
}

// T2.6: what a server says about extents never ends more than the query.
TEST_F(NbdAnswersTest, NonsenseAboutExtentsIsData) {
  script({[this](NbdPeer& peer) {
           while (const auto asked = peer.next()) {
             if (asked->header.command != Command::block_status) {
               disk.serve(peer, *asked);
               continue;
             }
             std::vector<std::byte> payload;
             Writer writer(payload);
             const uint32_t context = query_ == 1 ? 99 : 1;
             writer.put(context);
             if (query_ == 0) writer.put(uint32_t{0}).put(uint32_t{3});     // no length
             if (query_ == 1) writer.put(uint32_t{4096}).put(uint32_t{3});  // another context
             if (query_ == 2)
               writer.put(uint32_t{UINT32_MAX}).put(uint32_t{kHole | kZero});   // too long
             if (query_ == 3) writer.put(uint32_t{1000}).put(uint32_t{kZero});  // odd
             ++query_;
             peer.send(peer.chunk(asked->header, ChunkType::block_status, true, payload));
           }
         }},
         {.size = kSize, .headers = Headers::structured});
  serve_remote();
  auto client = this->client();
  for (int i = 0; i < 4; ++i) {
    const auto reply = client.command(Command::block_status, 0, 65536);
    EXPECT_EQ(reply.error, 0) << i;
    ASSERT_FALSE(reply.extents.empty()) << i;
    const uint64_t is_hole = kHole | kZero;
    EXPECT_EQ(reply.extents.front().flags, i == 2 ? is_hole : i == 3 ? uint64_t{kZero} : 0) << i;
    EXPECT_LE(reply.extents.front().length, 65536U) << i;
  }
  EXPECT_EQ(client.read(0, 512).error, 0);
  EXPECT_EQ(number("reconnects"), 0U);
}

// The answer that is repeated begins anew.
TEST_F(NbdAnswersTest, ExtentsOfAnAnswerThatWasCutDoNotCount) {
  const auto head = [](Writer& writer) { writer.put(uint32_t{1}); };
  const auto hole = [](Writer& writer) { writer.put(uint32_t{4096}).put(uint32_t{3}); };
  const auto data = [](Writer& writer) { writer.put(uint32_t{61440}).put(uint32_t{0}); };
  script({[=, this](NbdPeer& peer) {
           while (const auto asked = peer.next()) {
             if (asked->header.command != Command::block_status) {
               disk.serve(peer, *asked);
               continue;
             }
             std::vector<std::byte> payload;
             Writer writer(payload);
             head(writer);
             hole(writer);
             data(writer);
             const auto answer = peer.chunk(asked->header, ChunkType::block_status, true, payload);
             if (query_++ != 0) {
               peer.send(answer);
               continue;
             }
             peer.send(Bytes(answer).first(answer.size() - 8));
             return;
           }
         }},
         {.size = kSize, .headers = Headers::structured});
  serve_remote("reconnect=5s");
  auto client = this->client();
  const auto reply = client.command(Command::block_status, 0, 65536);
  ASSERT_EQ(reply.extents.size(), 2U);
  EXPECT_EQ(reply.extents[0].length, 4096U);
  EXPECT_EQ(reply.extents[1].length, 61440U);
  EXPECT_EQ(number("reconnects"), 1U);
}

TEST_F(NbdAnswersTest, ExtentsAreAskedForOnlyWhereThatWasAgreedOn) {
  auto simple = facts();
  simple.headers = Headers::simple;
  script({[this](NbdPeer& peer) {
            while (const auto asked = peer.next()) {
              if (asked->header.command == Command::read) return;
              disk.serve(peer, *asked);
            }
          },
          [this](NbdPeer& peer) {
            while (const auto asked = peer.next()) {
              if (asked->header.command == Command::block_status) return;
              disk.serve(peer, *asked);
            }
          }});
  serve_remote("reconnect=5s");
  auto client = this->client();
  server->change(simple);
  EXPECT_EQ(client.read(0, 512).error, 0);
  const auto reply = client.command(Command::block_status, 0, 65536);
  EXPECT_EQ(reply.error, 0);
  ASSERT_FALSE(reply.extents.empty());
  EXPECT_EQ(reply.extents[0].flags, 0U);
  EXPECT_EQ(number("reconnects"), 1U);
}

// So many pieces would keep the reactor busy for others.
TEST_F(NbdAnswersTest, AnAnswerInCrumbsEndsTheConnection) {
  lie(
      [this](NbdPeer& peer, const NbdPeer::Asked& asked) {
        const Bytes all = truth(asked.header);
        NbdPeer::Data answer;
        for (size_t byte = 1; byte < all.size(); byte += 2) {
          const auto crumb =
              peer.part(asked.header, asked.header.offset + byte, all.subspan(byte, 1), false);
          answer.insert(answer.end(), crumb.begin(), crumb.end());
        }
        peer.send(answer);
      },
      Headers::structured);
  auto client = this->client();
  expect_read(client, 0, 65536);
  EXPECT_EQ(number("reconnects"), 1U);
}

// T2.13: whatever the device is asked for, the server gets what it takes.
TEST_F(NbdAnswersTest, RequestsAreCutToWhatTheServerTakes) {
  script(
      {[this](NbdPeer& peer) {
        while (const auto asked = peer.next()) {
          longest_ = std::max<uint64_t>(longest_, asked->header.length);
          disk.serve(peer, *asked);
        }
      }},
      {.size = kSize, .block_sizes = {.minimum = 1024, .preferred = 4096, .payload_max = 65536}});
  serve_remote();
  auto client = this->client();
  const auto data = bytes_of(1 << 20, 3);
  EXPECT_EQ(client.write(0, data), 0);
  EXPECT_EQ(client.read(0, data.size()).data, data);
  EXPECT_EQ(longest_, 65536U);
  EXPECT_EQ(stack->geometry().logical_block_bytes, 1024U);
}

}  // namespace
}  // namespace sluice::nbd::test
