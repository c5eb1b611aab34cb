// How fast a processor enciphers, as target crypt does it: `sluice crypt bench`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/show.hpp"
#include "core/error.hpp"

namespace sluice::cli {

struct CipherSpeed {
  std::string_view cipher;
  size_t key_bytes = 0;
  uint32_t sector_bytes = 0;
  double encrypting_mib_per_s = 0;
  double decrypting_mib_per_s = 0;
};

// On one thread, each cipher and direction for so long, in its processor time.
Result<std::vector<CipherSpeed>> measure_ciphers(double seconds);

std::string speeds_text(const std::vector<CipherSpeed>& speeds);
Json speeds_json(const std::vector<CipherSpeed>& speeds);

}  // namespace sluice::cli
