#include "target/crypt/luks2_metadata.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "core/big_endian.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/crypt/libraries.hpp"

namespace sluice::crypt {
namespace {

constexpr size_t kMetadataNestingMax = 32;

// The binary part of a header.
constexpr std::string_view kFirstMagic("LUKS\xba\xbe", 6);
constexpr std::string_view kSecondMagic("SKUL\xba\xbe", 6);
constexpr size_t kVersionPlace = 6;
constexpr size_t kSizePlace = 8;
constexpr size_t kSequencePlace = 16;
constexpr size_t kAlgorithmPlace = 72;
constexpr size_t kAlgorithmBytes = 32;
constexpr size_t kPlacePlace = 256;
constexpr size_t kChecksumPlace = 448;
constexpr size_t kChecksumBytes = 64;
constexpr size_t kBinaryBytes = 4096;
constexpr uint64_t kHeaderBytesMin = 16 << 10;
constexpr uint64_t kHeaderBytesMax = 4 << 20;

bool has_text(std::span<const std::byte> bytes, size_t place, std::string_view text) {
  return std::memcmp(bytes.data() + place, text.data(), text.size()) == 0;
}

bool checksum_is_right(std::span<const std::byte> header) {
  const auto crypto = libcrypto();
  // Others may be chosen, but never are: libcryptsetup judges them.
  if (!crypto || !has_text(header, kAlgorithmPlace, std::string_view("sha256\0", 7))) return true;
  static_assert(kAlgorithmPlace + kAlgorithmBytes < kChecksumPlace);
  std::vector<std::byte> cleared(header.begin(), header.end());
  std::fill_n(cleared.begin() + kChecksumPlace, kChecksumBytes, std::byte{0});
  std::array<unsigned char, 32> hash{};
  unsigned length = 0;
  return (*crypto)->EVP_Digest(cleared.data(), cleared.size(), hash.data(), &length,
                               (*crypto)->EVP_sha256(), nullptr) == 1 &&
         std::memcmp(header.data() + kChecksumPlace, hash.data(), hash.size()) == 0;
}

HeaderCopies::Copy look_at_copy(std::span<const std::byte> bytes, uint64_t place,
                                std::string_view magic) {
  if (place > bytes.size() || bytes.size() - place < kBinaryBytes) return {};
  const std::span<const std::byte> here = bytes.subspan(place);
  if (!has_text(here, 0, magic) || load_big_endian<uint16_t>(here, kVersionPlace) != 2) return {};
  const auto size = load_big_endian<uint64_t>(here, kSizePlace);
  if (!std::has_single_bit(size) || size < kHeaderBytesMin || size > kHeaderBytesMax ||
      size > here.size() || load_big_endian<uint64_t>(here, kPlacePlace) != place ||
      (place != 0 && place != size)) {
    return {};
  }
  return {.valid = checksum_is_right(here.first(size)),
          .sequence = load_big_endian<uint64_t>(here, kSequencePlace)};
}

// Numbers of more than 53 bits are texts in this JSON.
std::optional<uint64_t> number_in(const JsonValue& object, std::string_view member) {
  const JsonValue* const found = object.find(member);
  if (found == nullptr) return std::nullopt;
  if (found->kind == JsonValue::Kind::whole_number) return found->whole_number;
  if (!found->is_text() || found->text.empty()) return std::nullopt;
  uint64_t number = 0;
  const char* const end = found->text.data() + found->text.size();
  const auto [stop, error] = std::from_chars(found->text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::string text_in(const JsonValue& object, std::string_view member) {
  const JsonValue* const found = object.find(member);
  return found != nullptr && found->is_text() ? found->text : std::string();
}

std::unexpected<Error> malformed(std::string_view what) {
  return fail(EINVAL, fmt::format("its LUKS2 metadata is malformed: {}", what));
}

std::vector<std::string> texts_in(const JsonValue* list) {
  std::vector<std::string> texts;
  if (list == nullptr || !list->is_array()) return texts;
  for (const JsonValue& item : list->items) {
    texts.push_back(item.is_text() ? item.text : "?");
  }
  return texts;
}

// The size of the key is that of any keyslot of the volume's digest; all are equal.
Result<uint32_t> key_bytes_in(const JsonValue& metadata) {
  const JsonValue* const digests = metadata.find("digests");
  const JsonValue* const keyslots = metadata.find("keyslots");
  if (digests == nullptr || keyslots == nullptr) return malformed("it has no digests or keyslots");
  for (const JsonValue& digest : digests->items) {
    const auto segments = texts_in(digest.find("segments"));
    if (std::ranges::find(segments, "0") == segments.end()) continue;
    for (const std::string& slot : texts_in(digest.find("keyslots"))) {
      const JsonValue* const keyslot = keyslots->find(slot);
      const auto bytes = keyslot == nullptr ? std::nullopt : number_in(*keyslot, "key_size");
      if (bytes && *bytes != 0 && *bytes <= 512) return static_cast<uint32_t>(*bytes);
    }
  }
  return malformed("no keyslot holds the key of its data");
}

Result<void> check_requirements(const JsonValue& metadata) {
  const auto all = requirements_of(metadata);
  if (all.empty()) return {};
  const auto reencrypts = [](const std::string& each) { return each.contains("reencrypt"); };
  if (std::ranges::any_of(all, reencrypts)) {
    return fail(EBUSY, fmt::format("it is being re-encrypted ({}): finish that with cryptsetup "
                                   "reencrypt --resume-only",
                                   shown(fmt::format("{}", fmt::join(all, ", ")))));
  }
  return fail(EOPNOTSUPP, fmt::format("it requires {}, which is not known here",
                                      shown(fmt::format("{}", fmt::join(all, ", ")))));
}

Result<const JsonValue*> find_segment(const JsonValue& metadata) {
  const JsonValue* const segments = metadata.find("segments");
  if (segments == nullptr || !segments->is_object() || segments->items.empty()) {
    return malformed("it has no segments");
  }
  if (segments->items.size() != 1) {
    return fail(EBUSY,
                "its data has several segments, as while it is re-encrypted: finish that "
                "with cryptsetup reencrypt --resume-only");
  }
  const JsonValue& only = segments->items.front();
  if (only.name != "0" || !only.is_object()) return malformed("it has no segment 0");
  if (const auto flags = texts_in(only.find("flags")); !flags.empty()) {
    return fail(EBUSY,
                fmt::format("its data is marked {}: finish the re-encryption with cryptsetup",
                            shown(flags.front())));
  }
  if (const std::string type = text_in(only, "type"); type != "crypt") {
    return fail(EOPNOTSUPP,
                fmt::format("its data is of type {}: only crypt is served", shown(type)));
  }
  return &only;
}

Result<void> read_flags(const JsonValue& metadata, Layout& layout) {
  const JsonValue* const config = metadata.find("config");
  if (config == nullptr) return malformed("it has no config");
  for (std::string& flag : texts_in(config->find("flags"))) {
    if (flag == "allow-discards") {
      layout.allows_discards = true;
    } else {
      layout.ignored_flags.push_back(std::move(flag));
    }
  }
  return {};
}

}  // namespace

HeaderCopies look_at_copies(std::span<const std::byte> bytes) {
  HeaderCopies copies{.first = look_at_copy(bytes, 0, kFirstMagic), .second = {}};
  for (uint64_t place = kHeaderBytesMin; place <= kHeaderBytesMax; place *= 2) {
    const auto found = look_at_copy(bytes, place, kSecondMagic);
    if (found.valid && (!copies.second.valid || found.sequence > copies.second.sequence)) {
      copies.second = found;
    }
  }
  return copies;
}

std::string HeaderCopies::disagreement() const {
  constexpr std::string_view kAdvice = "cryptsetup writes both when it changes the volume next";
  if (first.valid && second.valid && first.sequence == second.sequence) return {};
  if (!first.valid && !second.valid) return "both headers are damaged";
  if (!first.valid)
    return fmt::format("its first header is damaged, the second is used: {}", kAdvice);
  if (!second.valid) return fmt::format("its second header is damaged: {}", kAdvice);
  return fmt::format("its headers differ, the newer one is used ({} of {} and {}): {}",
                     std::max(first.sequence, second.sequence), first.sequence, second.sequence,
                     kAdvice);
}

Result<JsonValue> parse_metadata(std::string_view text) {
  auto parsed = parse_json_tree(text, kMetadataNestingMax);
  if (!parsed || !parsed->is_object()) return malformed("it is no JSON object");
  return std::move(*parsed);
}

std::vector<std::string> requirements_of(const JsonValue& metadata) {
  const JsonValue* const config = metadata.find("config");
  const JsonValue* const found = config == nullptr ? nullptr : config->find("requirements");
  return texts_in(found == nullptr ? nullptr : found->find("mandatory"));
}

std::vector<Token> tokens_of(const JsonValue& metadata) {
  std::vector<Token> found;
  const JsonValue* const tokens = metadata.find("tokens");
  if (tokens == nullptr || !tokens->is_object()) return found;
  for (const JsonValue& token : tokens->items) {
    found.push_back({.number = token.name,
                     .type = text_in(token, "type"),
                     .keyslots = texts_in(token.find("keyslots"))});
  }
  return found;
}

uint64_t digest_iterations(const JsonValue& metadata) {
  const JsonValue* const digests = metadata.find("digests");
  uint64_t most = 0;
  if (digests == nullptr || !digests->is_object()) return most;
  for (const JsonValue& digest : digests->items) {
    most = std::max(most, number_in(digest, "iterations").value_or(0));
  }
  return most;
}

Result<Layout> read_layout(const JsonValue& metadata) {
  if (auto checked = check_requirements(metadata); !checked) {
    return std::unexpected(checked.error());
  }
  const auto segment = find_segment(metadata);
  if (!segment) return std::unexpected(segment.error());
  const JsonValue& data = **segment;
  if (data.contains("integrity")) {
    return fail(EOPNOTSUPP, "it has integrity protection (dm-integrity), which is not served");
  }
  Layout layout;
  const auto offset = number_in(data, "offset");
  const auto tweak = number_in(data, "iv_tweak");
  const auto sector = number_in(data, "sector_size");
  if (!offset || !tweak || !sector || *offset > kSizeMax || *offset % kSectorUnitBytes != 0) {
    return malformed("the place of its data is no number");
  }
  if (!std::has_single_bit(*sector) || *sector < kSectorUnitBytes || *sector > kSectorBytesMax) {
    return fail(EOPNOTSUPP, fmt::format("its sectors have {} bytes: only 512, 1024, 2048 and 4096 "
                                        "are served",
                                        *sector));
  }
  layout.sector_bytes = static_cast<uint32_t>(*sector);
  layout.data_offset = *offset;
  layout.first_number = *tweak;
  if (text_in(data, "size") != "dynamic") {
    const auto size = number_in(data, "size");
    if (!size || *size == 0 || *size > kSizeMax || *size % *sector != 0) {
      return malformed("the size of its data is no multiple of its sectors");
    }
    layout.data_bytes = *size;
  }
  const auto key_bytes = key_bytes_in(metadata);
  if (!key_bytes) return std::unexpected(key_bytes.error());
  layout.key_bytes = *key_bytes;
  const auto cipher = find_cipher(text_in(data, "encryption"), layout.key_bytes);
  if (!cipher) return std::unexpected(cipher.error());
  layout.cipher = *cipher;
  if (auto read = read_flags(metadata, layout); !read) return std::unexpected(read.error());
  return layout;
}

}  // namespace sluice::crypt
