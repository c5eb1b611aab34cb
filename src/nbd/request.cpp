#include "nbd/request.hpp"

#include <fmt/format.h>

namespace sluice::nbd {

size_t write_request(const RequestHeader& request, Headers headers, std::span<std::byte> memory) {
  const bool extended = headers == Headers::extended;
  HeaderWriter writer(memory);
  writer.put(extended ? kExtendedRequestMagic : kRequestMagic)
      .put(request.flags)
      .put(static_cast<uint16_t>(request.command))
      .put(request.cookie)
      .put(request.offset);
  if (extended) {
    writer.put(request.length);
  } else {
    writer.put(static_cast<uint32_t>(request.length));
  }
  return writer.written();
}

Parsed<RequestHeader> read_request(Bytes buffer, Headers headers) {
  using Outcome = Parsed<RequestHeader>;
  const size_t bytes = request_bytes(headers);
  const uint32_t expected = headers == Headers::extended ? kExtendedRequestMagic : kRequestMagic;
  if (buffer.size() < sizeof(expected)) return Outcome::incomplete(bytes);
  Reader reader(buffer);
  const auto magic = reader.number<uint32_t>();
  if (magic != expected) {
    return Outcome::invalid(fmt::format("a request begins with {:#x}, not {:#x}", magic, expected));
  }
  if (buffer.size() < bytes) return Outcome::incomplete(bytes);
  RequestHeader request;
  request.flags = reader.number<uint16_t>();
  request.command = static_cast<Command>(reader.number<uint16_t>());
  request.cookie = reader.number<uint64_t>();
  request.offset = reader.number<uint64_t>();
  request.length =
      headers == Headers::extended ? reader.number<uint64_t>() : reader.number<uint32_t>();
  return Outcome::whole(request, bytes);
}

}  // namespace sluice::nbd
