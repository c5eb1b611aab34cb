// Layout: where the data of an encrypted volume is, and how it is enciphered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "target/crypt/sector_cipher.hpp"

namespace sluice::crypt {

struct Layout {
  Cipher cipher = Cipher::aes_xts_plain64;
  uint32_t key_bytes = 0;
  uint32_t sector_bytes = kSectorUnitBytes;
  uint64_t data_offset = 0;                     // bytes, in the child
  std::optional<uint64_t> data_bytes = {};      // none: all that there is
  uint64_t first_number = 0;                    // of the first sector of the data
  bool allows_discards = false;                 // a persistent flag
  std::vector<std::string> ignored_flags = {};  // other persistent flags: they tune dm-crypt
};

}  // namespace sluice::crypt
