// crypt: opens an encrypted volume.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include "core/log.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/crypt/crypt_target.hpp"
#include "target/crypt/header_bytes.hpp"
#include "target/crypt/inherited_key.hpp"
#include "target/crypt/option_table.hpp"
#include "target/crypt/options.hpp"
#include "target/crypt/passphrase.hpp"
#include "target/crypt/volume.hpp"
#include "target/open.hpp"

namespace sluice {
namespace crypt {
namespace {

class VolumeOpener {
 public:
  VolumeOpener(const Spec& spec, OpenContext& context, const Options& options)
      : context_(context), options_(options), name_(name_of(spec.children.front())) {}

  Result<std::unique_ptr<Target>> open(Target::Children&& children) {
    if (!options_.header.empty()) {
      auto header = open_header();
      if (!header) return std::unexpected(header.error());
      children.push_back(std::move(*header));
    }
    auto layout = options_.plain ? plain_layout() : luks_layout(*children.back());
    if (!layout) return std::unexpected(layout.error());
    const auto geometry = geometry_of(children.front()->geometry(), *layout);
    if (!geometry) return std::unexpected(geometry.error());
    auto key = context_.inherits() ? key_of_server_before() : key_of_passphrase();
    if (!key) return std::unexpected(key.error());
    auto kept = keep_key(context_, *key);
    if (!kept) return std::unexpected(kept.error());
    tell(*layout);
    return std::make_unique<CryptTarget>(std::move(children), std::move(*layout), std::move(*kept),
                                         *geometry);
  }

 private:
  static std::string name_of(const Spec& child) {
    return child.target == "loop" ? child.text("file") : to_text(child, target_vocabulary());
  }

  Result<std::unique_ptr<Target>> open_header() {
    auto header = read_header_spec(options_.header);
    if (!header) return std::unexpected(header.error());
    name_of_header_ = name_of(*header);
    const bool was_read_only = context_.read_only();
    context_.set_read_only(true);
    auto opened = context_.open(*header);
    context_.set_read_only(was_read_only);
    return opened;
  }

  Result<Layout> luks_layout(Target& holder) {
    auto volume = Volume::load(
        header_source(holder, options_.header.empty() ? name_ : name_of_header_,
                      [this](const ControlReactor::Work& work) { return context_.perform(work); }));
    if (!volume) return std::unexpected(volume.error());
    volume_ = std::move(*volume);
    if (!volume_->disagreement().empty()) {
      log().warn("crypt: {}: {}", shown(name_), volume_->disagreement());
    }
    auto layout = volume_->layout();
    if (layout && layout->data_offset == 0 && options_.header.empty()) {
      return refuse(EINVAL, "this is a detached header: serve its data, and give header= with it");
    }
    return layout;
  }

  Result<Layout> plain_layout() {
    const PlainFormat& plain = *options_.plain;
    const auto cipher = find_cipher(plain.cipher, plain.key_bytes);
    if (!cipher) return std::unexpected(cipher.error());
    return Layout{.cipher = *cipher,
                  .key_bytes = plain.key_bytes,
                  .data_offset = plain.offset,
                  .first_number = plain.skip_bytes / kSectorUnitBytes};
  }

  Result<Geometry> geometry_of(const Geometry& below, const Layout& layout) const {
    Geometry geometry = below;
    const uint32_t block = std::max(below.logical_block_bytes, layout.sector_bytes);
    if (layout.data_offset % below.logical_block_bytes != 0) {
      return refuse(EINVAL, fmt::format("its data begins at {}, which is no multiple of the blocks "
                                        "of {} bytes that it is on",
                                        layout.data_offset, below.logical_block_bytes));
    }
    const uint64_t there =
        below.size_bytes - std::min<uint64_t>(below.size_bytes, layout.data_offset);
    if (layout.data_bytes.value_or(block) > there) {
      return refuse(EINVAL,
                    fmt::format("it ends too early: its data begins at {}, has {} bytes, "
                                "and {} are there",
                                layout.data_offset, layout.data_bytes.value_or(block), there));
    }
    const uint64_t bytes = layout.data_bytes.value_or(there);
    if (bytes % block != 0) {
      log().warn("crypt: {}: its last {} bytes are left out, as its blocks have {}", shown(name_),
                 bytes % block, block);
    }
    geometry.size_bytes = bytes / block * block;
    geometry.exact_bytes = 0;
    geometry.logical_block_bytes = block;
    // A torn sector cannot be deciphered.
    const uint64_t aligned = std::gcd(uint64_t{below.physical_block_bytes}, layout.data_offset);
    geometry.physical_block_bytes = std::max(static_cast<uint32_t>(aligned), block);
    geometry.can_write_zeroes = false;  // zeroes are enciphered like all data
    geometry.needs_bytes = true;
    geometry.needs_stable_pages = false;  // what is written further down is a copy
    geometry.can_discard =
        below.can_discard && options_.allow_discards.value_or(layout.allows_discards);
    return geometry;
  }

  Result<Secret> key_of_passphrase() {
    if (options_.key.from == KeyFrom::nowhere) return key_of_token(nullptr);
    auto passphrase = read_passphrase(options_.key);
    if (!passphrase) return passphrase;
    if (options_.plain) return plain_key(std::move(*passphrase));
    if (!options_.token.empty()) return key_of_token(&*passphrase);
    return volume_->unlock(*passphrase,
                           {.keyslot = options_.keyslot, .memory_bytes = options_.memory_bytes});
  }

  Result<Secret> key_of_token(const Secret* pin) {
    return volume_->unlock_by_token(options_.token, pin, {.memory_bytes = options_.memory_bytes});
  }

  // libcryptsetup has the rules for hashes, which are old and odd.
  Result<Secret> plain_key(Secret passphrase) {
    const PlainFormat& plain = *options_.plain;
    log().warn(
        "crypt: {}: a plain volume has no header, so that nothing shows a wrong passphrase: "
        "its data is then unreadable, and what is written destroys it",
        shown(name_));
    if (plain.hash.empty()) {
      if (passphrase.size() < plain.key_bytes) {
        return refuse(EINVAL, fmt::format("the key has {} bits, and size={} says more",
                                          8 * passphrase.size(), 8 * plain.key_bytes));
      }
      passphrase.shorten(plain.key_bytes);
      return passphrase;
    }
    auto volume =
        Volume::plain({.cipher = plain.cipher, .key_bytes = plain.key_bytes, .hash = plain.hash});
    if (!volume) return std::unexpected(volume.error());
    return (*volume)->unlock(passphrase, {});
  }

  // It may be that of another volume, if the header has changed meanwhile.
  Result<Secret> key_of_server_before() {
    auto key = inherited_key(context_);
    if (!key || volume_ == nullptr) return key;
    if (auto verified = volume_->verify(*key); !verified) return std::unexpected(verified.error());
    return key;
  }

  void tell(const Layout& layout) const {
    for (const std::string& flag : layout.ignored_flags) {
      log().info("crypt: {}: the persistent flag {} is for dm-crypt, and has no effect here",
                 shown(name_), shown(flag));
    }
  }

  std::unexpected<Error> refuse(int error, std::string why) const {
    return fail(error, fmt::format("crypt: {}: {}", shown(name_), why));
  }

  OpenContext& context_;
  const Options& options_;
  const std::string name_;
  std::string name_of_header_;
  std::unique_ptr<Volume> volume_;  // null: plain
};

Result<std::unique_ptr<Target>> open_crypt(const Spec& spec, Target::Children&& children,
                                           OpenContext& context) {
  const auto options = read_options(spec);
  if (!options) return std::unexpected(options.error());
  return VolumeOpener(spec, context, *options).open(std::move(children));
}

}  // namespace
}  // namespace crypt

constinit const TargetType kCryptTarget = {
    .syntax = {.name = "crypt",
               .summary = "the data of an encrypted volume: LUKS1, LUKS2 or plain",
               .children_minimum = 1,
               .children_maximum = 1,
               .options = crypt::kCryptOptions},
    .open = crypt::open_crypt};

}  // namespace sluice
