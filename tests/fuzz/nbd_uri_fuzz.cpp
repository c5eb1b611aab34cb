// Parses any bytes as an NBD URI: it is refused with a sentence that can be printed, or written
// again as a URI that means the same.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "nbd/uri.hpp"
#include "spec/shown.hpp"

namespace {

void require(bool holds, const char* what, const std::string& detail) {
  if (holds) return;
  std::fprintf(stderr, "nbd_uri_fuzz: %s: %s\n", what, detail.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto uri = sluice::nbd::parse_uri(text);
  if (!uri) {
    const std::string& why = uri.error().text;
    require(sluice::is_utf8(why) && why.find_first_of("\n\x1b") == std::string::npos,
            "a sentence is not printable", why);
    return 0;
  }
  const std::string again = sluice::nbd::to_text(*uri);
  require(sluice::nbd::is_uri(again), "it is no URI any more", again);
  const auto read = sluice::nbd::parse_uri(again);
  require(read.has_value(), "it is refused when written again", again);
  require(sluice::nbd::to_text(*read) == again, "it changes when written again", again);
  return 0;
}
