#include "frontend/fuse/call.hpp"

#include <algorithm>

namespace sluice::fuse {

std::optional<Call> parse_call(std::span<const std::byte> frame) {
  Call call;
  if (frame.size() < sizeof(call.header)) return std::nullopt;
  std::memcpy(&call.header, frame.data(), sizeof(call.header));
  if (call.header.len != frame.size()) return std::nullopt;
  call.arguments = frame.subspan(sizeof(call.header));
  if (call.header.opcode != FUSE_WRITE) return call;
  const auto write = call.argument<fuse_write_in>();
  if (!write) return std::nullopt;
  call.payload = call.arguments.subspan(sizeof(*write));
  call.arguments = call.arguments.first(sizeof(*write));
  return call;
}

void Call::move(const std::byte* before, std::span<const std::byte> frame) {
  for (std::span<const std::byte>* const part : {&arguments, &payload}) {
    if (part->empty()) continue;
    const auto begin = std::min(static_cast<size_t>(part->data() - before), frame.size());
    *part = frame.subspan(begin, std::min(part->size(), frame.size() - begin));
  }
}

// The name has no structure before it: over io_uring it is the payload, otherwise the arguments.
std::string_view Call::name() const {
  const std::span<const std::byte> bytes = payload.empty() ? arguments : payload;
  const char* const text = reinterpret_cast<const char*>(bytes.data());
  return {text, strnlen(text, bytes.size())};
}

}  // namespace sluice::fuse
