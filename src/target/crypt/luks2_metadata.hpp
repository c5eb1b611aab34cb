// What is in the headers of LUKS2, as far as libcryptsetup does not say it: parsers of bytes and
// JSON that others wrote. They trust nothing, and access no file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "spec/json_value.hpp"
#include "target/crypt/layout.hpp"

namespace sluice::crypt {

inline constexpr size_t kFirstHeaderBytes = 16 << 20;  // LUKS2 by default, and all of LUKS1

// The state of the two copies of a LUKS2 header, which is at the front of `bytes`.
struct HeaderCopies {
  struct Copy {
    bool valid = false;  // found, and its checksum is right
    uint64_t sequence = 0;
  };
  Copy first;
  Copy second;

  // One sentence for the user; empty: both are valid and equal.
  std::string disagreement() const;
};
HeaderCopies look_at_copies(std::span<const std::byte> bytes);

// The layout of a volume that can be served. EOPNOTSUPP: it needs something that is not served,
// with its name; EBUSY: it is being re-encrypted; EINVAL: the metadata is malformed.
Result<Layout> read_layout(const JsonValue& metadata);
Result<JsonValue> parse_metadata(std::string_view text);

// Of the digest that takes longest; 0: none is there.
uint64_t digest_iterations(const JsonValue& metadata);
inline constexpr std::string_view kAnyToken = "any";

// What may give the passphrase of keyslots without the user's.
struct Token {
  std::string number;
  std::string type;
  std::vector<std::string> keyslots;
};
std::vector<Token> tokens_of(const JsonValue& metadata);
// Conditions that a reader must meet, from config.requirements.
std::vector<std::string> requirements_of(const JsonValue& metadata);

}  // namespace sluice::crypt
