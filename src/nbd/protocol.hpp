// The numbers of the NBD protocol: doc/proto.md of NetworkBlockDevice/nbd, with the extended
// headers of its branch extension-ext-header. Names are the specification's, without NBD_.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::nbd {

// The limit of the specification for names, descriptions, queries and error messages.
inline constexpr size_t kStringBytesMax = 4096;
// The payload that a peer accepts without having said so.
inline constexpr uint32_t kDefaultPayloadMax = 32 << 20;
inline constexpr uint16_t kDefaultPort = 10809;

// --- The handshake.

inline constexpr uint64_t kGreetingMagic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;    // "IHAVEOPT"; newstyle
inline constexpr uint64_t kOldstyleMagic = 0x0000420281861253;
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;

enum HandshakeFlag : uint16_t { kFixedNewstyle = 1 << 0, kNoZeroes = 1 << 1 };

enum class Option : uint32_t {
  export_name = 1,
  abort = 2,
  list = 3,
  starttls = 5,
  info = 6,
  go = 7,
  structured_reply = 8,
  list_meta_context = 9,
  set_meta_context = 10,
  extended_headers = 11,
};

inline constexpr uint32_t kOptionErrorBit = uint32_t{1} << 31;

enum class OptionReplyType : uint32_t {
  ack = 1,
  server = 2,
  info = 3,
  meta_context = 4,
  unsupported = kOptionErrorBit + 1,
  policy = kOptionErrorBit + 2,
  invalid = kOptionErrorBit + 3,
  platform = kOptionErrorBit + 4,
  tls_required = kOptionErrorBit + 5,
  unknown_export = kOptionErrorBit + 6,
  shutdown = kOptionErrorBit + 7,
  block_size_required = kOptionErrorBit + 8,
  too_big = kOptionErrorBit + 9,
  extended_headers_required = kOptionErrorBit + 10,
};

constexpr bool is_error(OptionReplyType type) {
  return (static_cast<uint32_t>(type) & kOptionErrorBit) != 0;
}

enum class InfoType : uint16_t { export_ = 0, name = 1, description = 2, block_size = 3 };

enum TransmissionFlag : uint16_t {
  kHasFlags = 1 << 0,
  kReadOnly = 1 << 1,
  kSendFlush = 1 << 2,
  kSendFua = 1 << 3,
  kRotational = 1 << 4,
  kSendTrim = 1 << 5,
  kSendWriteZeroes = 1 << 6,
  kSendDf = 1 << 7,
  kCanMultiConn = 1 << 8,
  kSendCache = 1 << 10,
  kSendFastZero = 1 << 11,
  kBlockStatusPayload = 1 << 12,
};

// --- Transmission.

inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kExtendedRequestMagic = 0x21e41c71;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;
inline constexpr uint32_t kExtendedReplyMagic = 0x6e8a278c;

// Which headers the peers have agreed on.
enum class Headers : uint8_t {
  simple,      // replies without types: the whole data of a READ follows its reply
  structured,  // replies in chunks; also simple ones without data
  extended,    // lengths of 64 bits, replies in chunks
};

enum class Command : uint16_t {
  read = 0,
  write = 1,
  disconnect = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  write_zeroes = 6,
  block_status = 7,
};

enum CommandFlag : uint16_t {
  kFua = 1 << 0,
  kNoHole = 1 << 1,
  kDontFragment = 1 << 2,
  kRequestOne = 1 << 3,
  kFastZero = 1 << 4,
  kPayloadLength = 1 << 5,
};

inline constexpr uint16_t kChunkErrorBit = 1 << 15;
inline constexpr uint16_t kReplyDone = 1 << 0;  // a flag: the last chunk

enum class ChunkType : uint16_t {
  none = 0,
  offset_data = 1,
  offset_hole = 2,
  block_status = 5,
  block_status_extended = 6,
  error = kChunkErrorBit + 1,
  error_offset = kChunkErrorBit + 2,
};

constexpr bool is_error(ChunkType type) {
  return (static_cast<uint16_t>(type) & kChunkErrorBit) != 0;
}

// The flags of the context base:allocation.
inline constexpr std::string_view kAllocationContext = "base:allocation";
enum AllocationFlag : uint32_t { kHole = 1 << 0, kZero = 1 << 1 };

// The errors of the protocol have Linux's numbers. These are all there are: an errno without an
// equivalent becomes EINVAL or EIO.
uint32_t to_wire_error(int error);
// 0 for 0; EINVAL for a number that the specification does not have.
int from_wire_error(uint32_t error);

}  // namespace sluice::nbd
