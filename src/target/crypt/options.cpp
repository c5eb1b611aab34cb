#include "target/crypt/options.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "spec/shown.hpp"
#include "target/crypt/option_table.hpp"
#include "target/crypt/sector_cipher.hpp"
#include "target/registry.hpp"

namespace sluice::crypt {
namespace {

constexpr std::string_view kStandardInput = "-";

// Those that only one of the two types has.
constexpr std::string_view kPlainOnly[] = {"cipher", "size", "hash", "offset", "skip"};
constexpr std::string_view kLuksOnly[] = {"header", "keyslot", "token", "pbkdf_memory"};

template <size_t kCount>
Result<void> refuse_options(const Spec& spec, const std::string_view (&names)[kCount],
                            std::string_view type) {
  for (const std::string_view name : names) {
    if (!spec.has(name)) continue;
    return fail(EINVAL,
                fmt::format("crypt: {} has no meaning for type={}: leave it out", name, type));
  }
  return {};
}

Result<PlainFormat> read_plain(const Spec& spec, const KeySource& key) {
  for (const std::string_view needed : {"cipher", "size"}) {
    if (spec.has(needed)) continue;
    return fail(EINVAL,
                fmt::format("crypt: type=plain needs {}: nothing on the disk says it, and programs "
                            "have different defaults",
                            needed == "size" ? "size, the bits of the key" : "cipher"));
  }
  const uint64_t bits = spec.number("size", 0);
  const bool is_typed = key.from == KeyFrom::terminal || key.descriptor == STDIN_FILENO;
  if (!is_typed && spec.has("hash")) {
    return fail(EINVAL,
                "crypt: the bytes of a key file are the key, and are not hashed: leave out "
                "hash");
  }
  if (is_typed && !spec.has("hash")) {
    return fail(EINVAL,
                "crypt: type=plain needs the hash of the passphrase: give hash=sha256, "
                "hash=ripemd160 ..., or hash=plain");
  }
  PlainFormat format{.cipher = spec.text("cipher"),
                     .key_bytes = static_cast<uint32_t>(bits / 8),
                     .hash = spec.text("hash"),
                     .offset = spec.number("offset", 0),
                     .skip_bytes = spec.number("skip", 0)};
  if (format.hash == "plain") format.hash.clear();
  for (const std::string_view place : {"offset", "skip"}) {
    if (spec.number(place, 0) % kSectorUnitBytes == 0) continue;
    return fail(EINVAL, fmt::format("crypt: {} must be a multiple of 512 bytes", place));
  }
  const auto known = bits % 8 == 0 ? find_cipher(format.cipher, format.key_bytes)
                                   : Result<Cipher>(fail(EINVAL, "size must be a multiple of 8"));
  if (!known) return fail(known.error().error, fmt::format("crypt: {}", known.error().text));
  return format;
}

}  // namespace

bool names_key(const Spec& spec) {
  return spec.has("key_file") || spec.has("key_fd") || spec.has("key_cmd");
}

Result<KeySource> read_key_source(const Spec& spec) {
  const int ways = int{spec.has("key_file")} + int{spec.has("key_fd")} + int{spec.has("key_cmd")};
  if (ways > 1) {
    return fail(EINVAL, "crypt: give one of key_file, key_fd and key_cmd");
  }
  KeySource key{.offset = spec.number("key_file_offset", 0)};
  if (spec.has("key_file_size")) key.size = spec.number("key_file_size", 0);
  if (ways == 0 && (key.size || key.offset != 0)) {
    return fail(EINVAL,
                "crypt: key_file_offset and key_file_size go with key_file, key_fd or "
                "key_cmd");
  }
  if (spec.has("key_file") && spec.text("key_file") != kStandardInput) {
    key.from = KeyFrom::file;
    key.place = spec.text("key_file");
  } else if (spec.has("key_cmd")) {
    key.from = KeyFrom::command;
    key.place = spec.text("key_cmd");
  } else if (ways != 0) {
    key.from = KeyFrom::descriptor;
    key.descriptor = static_cast<int>(spec.number("key_fd", STDIN_FILENO));
    key.identity = fmt::format("descriptor {}", key.descriptor);
  } else if (spec.has("token")) {
    key.from = KeyFrom::nowhere;
  } else {
    key.identity = to_text(spec, target_vocabulary());
  }
  return key;
}

// A small file may be no whole number of large blocks.
Result<Spec> read_header_spec(const std::string& written) {
  auto header = parse_spec(written, target_vocabulary());
  if (!header) {
    return fail(header.error().error, fmt::format("crypt: header: {}", header.error().text));
  }
  if (header->target != "loop") return header;
  if (!header->has("block")) header->set("block", uint64_t{kSectorUnitBytes});
  header->set("buffered_io", true);
  return header;
}

Result<Options> read_options(const Spec& spec) {
  auto key = read_key_source(spec);
  if (!key) return std::unexpected(key.error());
  Options options{.key = std::move(*key),
                  .token = spec.text("token"),
                  .header = spec.text("header"),
                  .memory_bytes = spec.number("pbkdf_memory", kPbkdfMemoryBytes)};
  if (spec.has("token") && (spec.has("keyslot") || options.token.empty())) {
    return fail(EINVAL, spec.has("keyslot")
                            ? "crypt: the token says which keyslot: leave out keyslot"
                            : "crypt: token needs its number, its type, or any");
  }
  if (spec.has("keyslot")) options.keyslot = static_cast<int>(spec.number("keyslot", 0));
  if (spec.has("allow_discards")) options.allow_discards = spec.flag("allow_discards");
  const std::string type = spec.has("type") ? spec.text("type") : "luks";
  if (type == "luks") {
    if (auto checked = refuse_options(spec, kPlainOnly, type); !checked) {
      return std::unexpected(checked.error());
    }
    return options;
  }
  if (type != "plain") {
    return fail(EINVAL, fmt::format("crypt: type is luks or plain, found {}", shown(type)));
  }
  if (auto checked = refuse_options(spec, kLuksOnly, type); !checked) {
    return std::unexpected(checked.error());
  }
  auto plain = read_plain(spec, options.key);
  if (!plain) return std::unexpected(plain.error());
  options.plain = std::move(*plain);
  return options;
}

}  // namespace sluice::crypt
