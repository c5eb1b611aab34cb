// Reads any bytes as the header of an encrypted volume, and any text as the metadata in one: they
// are refused with one printable sentence, or give a layout that can be served. Nothing is written.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/big_endian.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/crypt/luks2_metadata.hpp"
#include "target/crypt/volume.hpp"

namespace {

using sluice::crypt::Layout;
using sluice::crypt::Volume;

constexpr size_t kHeaderBytes = 16 << 10;
constexpr size_t kVolumeBytes = 1 << 20;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "crypt_header_fuzz: %s\n", what);
  std::abort();
}

void check_sentence(const sluice::Error& error) {
  require(error.error > 0 && !error.text.empty(), "no reason is given");
  require(sluice::is_utf8(error.text) && error.text.find('\n') == std::string::npos,
          "a sentence is not printable");
  require(error.text.size() < 2000, "a sentence is long");
}

void check_layout(const sluice::Result<Layout>& layout) {
  if (!layout) return check_sentence(layout.error());
  const uint32_t sector = layout->sector_bytes;
  require(sector >= 512 && sector <= 4096 && (sector & (sector - 1)) == 0, "a strange sector");
  require(layout->data_offset <= sluice::kSizeMax && layout->data_offset % 512 == 0,
          "a strange offset");
  require(!layout->data_bytes || (*layout->data_bytes <= sluice::kSizeMax &&
                                  *layout->data_bytes != 0 && *layout->data_bytes % sector == 0),
          "a strange size");
  require(layout->key_bytes >= 16 && layout->key_bytes <= 64, "a strange key");
}

// Both copies, with right checksums, which mutated bytes would never have.
std::vector<std::byte> volume_with(std::string_view metadata) {
  std::vector<std::byte> volume(kVolumeBytes);
  const auto crypto = sluice::crypt::libcrypto();
  for (size_t copy = 0; copy < 2 && crypto; ++copy) {
    const std::span<std::byte> header =
        std::span(volume).subspan(copy * kHeaderBytes, kHeaderBytes);
    std::memcpy(header.data(), copy == 0 ? "LUKS\xba\xbe" : "SKUL\xba\xbe", 6);
    sluice::store_big_endian<uint16_t>(header, 6, 2);
    sluice::store_big_endian<uint64_t>(header, 8, kHeaderBytes);
    sluice::store_big_endian<uint64_t>(header, 16, 1);
    std::memcpy(header.data() + 72, "sha256", 6);
    std::memcpy(header.data() + 168, "11111111-2222-3333-4444-555555555555", 36);
    sluice::store_big_endian<uint64_t>(header, 256, copy * kHeaderBytes);
    std::memcpy(header.data() + 4096, metadata.data(),
                std::min(metadata.size(), kHeaderBytes - 4097));
    unsigned length = 0;
    unsigned char hash[32];
    (*crypto)->EVP_Digest(header.data(), header.size(), hash, &length, (*crypto)->EVP_sha256(),
                          nullptr);
    std::memcpy(header.data() + 448, hash, sizeof(hash));
  }
  return volume;
}

void load(const std::vector<std::byte>& bytes) {
  static const auto library = sluice::crypt::Cryptsetup::load();  // stays
  if (!library) return;
  const auto volume = Volume::load(
      {.name = "fuzzed",
       .size_bytes = bytes.size(),
       .read = [&](uint64_t offset, std::span<std::byte> part) {
         require(offset <= bytes.size() && part.size() <= bytes.size() - offset, "a wild read");
         std::ranges::copy(std::span(bytes).subspan(offset, part.size()), part.begin());
         return sluice::kOk;
       }});
  if (!volume) return check_sentence(volume.error());
  check_layout((*volume)->layout());
  [[maybe_unused]] const auto slots = (*volume)->keyslots();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with('{')) {
    const auto metadata = sluice::crypt::parse_metadata(text);
    if (metadata) {
      check_layout(sluice::crypt::read_layout(*metadata));
    } else {
      check_sentence(metadata.error());
    }
    load(volume_with(text));
    return 0;
  }
  std::vector<std::byte> bytes(std::max(size, kVolumeBytes));
  std::memcpy(bytes.data(), data, size);
  [[maybe_unused]] const auto copies = sluice::crypt::look_at_copies(bytes);
  require(sluice::is_utf8(copies.disagreement()), "a remark is not printable");
  load(bytes);
  return 0;
}
