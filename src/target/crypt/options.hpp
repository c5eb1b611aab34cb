// The options of target crypt, and where its passphrase comes from. The spec holds no secret.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/error.hpp"
#include "spec/spec.hpp"

namespace sluice::crypt {

enum class KeyFrom : uint8_t {
  file,        // key_file=PATH: can be read again
  command,     // key_cmd=...: can be run again
  descriptor,  // key_fd=N, key_file=-: of the process of the user
  terminal,    // nothing is said: that process asks
  nowhere,     // a token needs none
};

struct KeySource {
  KeyFrom from = KeyFrom::terminal;
  std::string place = {};  // the path or the command
  int descriptor = -1;
  uint64_t offset = 0;
  std::optional<uint64_t> size = {};

  // Of a passphrase that only the process of the user can read: the same for the same passphrase.
  std::string identity = {};
};

struct PlainFormat {
  std::string cipher;
  uint32_t key_bytes = 0;
  std::string hash = {};    // empty: the passphrase is the key
  uint64_t offset = 0;      // bytes
  uint64_t skip_bytes = 0;  // of the numbers of sectors
};

struct Options {
  KeySource key;
  std::optional<int> keyslot = {};
  std::string token = {};                   // number, type or "any"; empty: none
  std::string header = {};                  // a spec; empty: in front of the data
  std::optional<bool> allow_discards = {};  // none: what the header says
  uint64_t memory_bytes = 0;
  std::optional<PlainFormat> plain = {};  // none: LUKS
};

// EINVAL: options that contradict each other.
Result<Options> read_options(const Spec& spec);
// What holds the header, if that is detached: it is only read.
Result<Spec> read_header_spec(const std::string& written);
// Whether it says where a passphrase comes from.
bool names_key(const Spec& spec);
// Only the source of the passphrase.
Result<KeySource> read_key_source(const Spec& spec);

}  // namespace sluice::crypt
