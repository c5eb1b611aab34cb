// Reads any bytes as requests and as replies of the NBD protocol, with all kinds of headers: what
// is accepted keeps to the limits, and is written again as it was read.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "nbd/reply.hpp"
#include "nbd/request.hpp"
#include "spec/shown.hpp"

namespace {

using namespace sluice::nbd;

constexpr uint64_t kPayloadMax = 1 << 20;

void require(bool holds, const char* what, const std::string& detail = {}) {
  if (holds) return;
  std::fprintf(stderr, "nbd_transmission_fuzz: %s: %s\n", what, detail.c_str());
  std::abort();
}

template <typename Message>
void check_outcome(const Parsed<Message>& parsed, size_t available) {
  require(!(parsed.is_whole() && parsed.is_invalid()), "a message is both whole and invalid");
  require(sluice::is_utf8(parsed.why), "a reason is not printable", parsed.why);
  if (parsed.is_whole()) require(parsed.bytes <= available, "more was read than there is");
  if (!parsed.is_whole() && !parsed.is_invalid()) {
    require(parsed.bytes > available, "nothing is missing, and the message is not whole");
  }
}

void check_requests(Bytes input, Headers headers) {
  while (true) {
    const auto request = read_request(input, headers);
    check_outcome(request, input.size());
    if (!request.is_whole()) return;
    std::vector<std::byte> again(kExtendedRequestBytes);
    again.resize(write_request(*request.message, headers, again));
    require(std::ranges::equal(again, input.first(request.bytes)), "a request has changed");
    input = input.subspan(request.bytes);
    input =
        input.subspan(std::min<uint64_t>(request.message->payload_bytes(headers), input.size()));
  }
}

// Returns the input behind the reply; empty if there is no whole one.
Bytes check_reply(Bytes input, Headers headers) {
  const auto parsed = read_reply(input, headers, kPayloadMax);
  check_outcome(parsed, input.size());
  if (!parsed.is_whole()) return {};
  const ReplyHeader& reply = *parsed.message;
  std::vector<std::byte> again(kReplyBytesMax);
  again.resize(write_reply(reply, headers, again));
  require(std::ranges::equal(again, input.first(parsed.bytes)), "a reply has changed");
  input = input.subspan(parsed.bytes);
  if (reply.is_simple) return input;
  const size_t head_bytes = chunk_head_bytes(reply.type);
  require(head_bytes + chunk_rest_bytes(reply) == reply.length, "the parts are not the whole");
  const auto head = read_chunk_head(input.first(std::min(head_bytes, input.size())), reply);
  check_outcome(head, std::min(head_bytes, input.size()));
  if (!head.is_whole()) return {};
  const ChunkHead& found = *head.message;
  if (reply.type == ChunkType::offset_data) {
    require(found.length != 0 && found.length <= kPayloadMax, "the data has another length");
  }
  require(found.extents <= kExtentsMax, "there are too many extents");
  require(found.text_bytes <= chunk_rest_bytes(reply), "a message is longer than its chunk");
  const uint64_t rest = chunk_rest_bytes(reply);
  if (rest > input.size() - head_bytes) return {};
  Bytes extents = input.subspan(head_bytes, rest);
  for (uint32_t i = 0; i < found.extents; ++i) {
    const size_t bytes = status_extent_bytes(headers);
    const StatusExtent extent = read_status_extent(extents.first(bytes), headers);
    std::vector<std::byte> written(bytes);
    write_status_extent(extent, headers, written);
    require(std::ranges::equal(written, extents.first(bytes)), "an extent has changed");
    extents = extents.subspan(bytes);
  }
  return input.subspan(head_bytes + rest);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  for (const Headers headers : {Headers::simple, Headers::structured, Headers::extended}) {
    check_requests(input, headers);
    for (Bytes left = input; !left.empty();) left = check_reply(left, headers);
  }
  return 0;
}
