// Reader and Writer: numbers and strings of a message in network byte order. Parsed: the outcome of
// reading a message from a buffer that may end anywhere.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/big_endian.hpp"

namespace sluice::nbd {

using Bytes = std::span<const std::byte>;

// One of three: whole, with a message; incomplete; or invalid, with a reason.
template <typename Message>
struct Parsed {
  std::optional<Message> message = {};
  size_t bytes = 0;      // whole: of the message; incomplete: that the buffer must have at least
  std::string why = {};  // invalid: part of a sentence

  bool is_whole() const { return message.has_value(); }
  bool is_invalid() const { return !why.empty(); }

  static Parsed whole(Message message, size_t bytes) {
    return {.message = std::move(message), .bytes = bytes};
  }
  static Parsed incomplete(size_t bytes) { return {.bytes = bytes}; }
  static Parsed invalid(std::string why) { return {.why = std::move(why)}; }
};

// Reads from the front. What reaches beyond the end is 0 or empty, and sets has_failed().
class Reader {
 public:
  explicit Reader(Bytes bytes) : left_(bytes) {}

  template <std::unsigned_integral Number>
  Number number() {
    Number number = 0;
    const Bytes bytes = take(sizeof(Number));
    if (!bytes.empty()) std::memcpy(&number, bytes.data(), sizeof(Number));
    return big_endian(number);
  }
  // Borrows from the buffer.
  std::string_view text(size_t bytes) {
    const Bytes taken = take(bytes);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  Bytes left() const { return left_; }
  bool has_failed() const { return failed_; }
  // Everything has been read, and was there.
  bool is_done() const { return !failed_ && left_.empty(); }

 private:
  Bytes take(size_t bytes) {
    if (bytes > left_.size()) {
      failed_ = true;
      left_ = {};
      return {};
    }
    const Bytes taken = left_.first(bytes);
    left_ = left_.subspan(bytes);
    return taken;
  }

  Bytes left_;
  bool failed_ = false;
};

// Writes numbers of a header to memory that has room for all of it.
class HeaderWriter {
 public:
  explicit HeaderWriter(std::span<std::byte> memory) : memory_(memory) {}

  template <std::unsigned_integral Number>
  HeaderWriter& put(Number number) {
    number = big_endian(number);
    std::memcpy(memory_.data() + written_, &number, sizeof(Number));
    written_ += sizeof(Number);
    return *this;
  }
  size_t written() const { return written_; }

 private:
  std::span<std::byte> memory_;
  size_t written_ = 0;
};

// Appends to a buffer. For the handshake: it allocates.
class Writer {
 public:
  explicit Writer(std::vector<std::byte>& buffer) : buffer_(buffer) {}

  template <std::unsigned_integral Number>
  Writer& put(Number number) {
    number = big_endian(number);
    return put(std::as_bytes(std::span(&number, 1)));
  }
  template <typename Enum>
    requires std::is_enum_v<Enum>
  Writer& put(Enum value) {
    return put(static_cast<std::underlying_type_t<Enum>>(value));
  }
  Writer& put(std::string_view text) { return put(std::as_bytes(std::span(text))); }
  Writer& put(Bytes bytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    return *this;
  }

 private:
  std::vector<std::byte>& buffer_;
};

}  // namespace sluice::nbd
