#include "target/crypt/image_cipher.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/crypt/crypt_target.hpp"
#include "target/crypt/header_bytes.hpp"
#include "target/crypt/inherited_key.hpp"
#include "target/crypt/options.hpp"
#include "target/crypt/passphrase.hpp"
#include "target/crypt/volume.hpp"

namespace sluice::crypt {
namespace {

// The storage of an image, which the image owns.
class BorrowedStorage final : public Target {
 public:
  explicit BorrowedStorage(Target& storage) : storage_(storage) {
    geometry_ = storage.geometry();
    geometry_.size_bytes = kSizeMax / geometry_.logical_block_bytes * geometry_.logical_block_bytes;
    geometry_.exact_bytes = 0;
  }

 private:
  Task do_submit(Request& request) override { return storage_.submit(request); }

  Target& storage_;
};

Geometry geometry_over(const Geometry& storage) {
  Geometry geometry = storage;
  geometry.logical_block_bytes = std::max(storage.logical_block_bytes, kSectorUnitBytes);
  geometry.can_write_zeroes = false;  // zeroes are enciphered like all data
  geometry.can_discard = false;       // of clusters, by the image
  geometry.needs_bytes = true;
  geometry.needs_stable_pages = false;  // what is written further down is a copy
  return geometry;
}

Result<Secret> key_of(const Spec& spec, OpenContext& context, Volume& volume) {
  if (context.inherits()) {
    auto key = inherited_key(context);
    if (!key) return key;
    if (auto same = volume.verify(*key); !same) return std::unexpected(same.error());
    return key;
  }
  const auto options = read_options(spec);
  if (!options) return std::unexpected(options.error());
  const auto passphrase = read_passphrase(options->key);
  if (!passphrase) return std::unexpected(passphrase.error());
  return volume.unlock(*passphrase,
                       {.keyslot = options->keyslot, .memory_bytes = options->memory_bytes});
}

}  // namespace

Result<std::unique_ptr<Target>> open_image_cipher(const Spec& spec, OpenContext& context,
                                                  Target& storage, const HeaderPlace& header,
                                                  const std::string& name) {
  HeaderSource source = header_source(storage, name, [&context](const ControlReactor::Work& work) {
    return context.perform(work);
  });
  source.size_bytes = header.bytes;
  source.read = [read = std::move(source.read), &header](uint64_t offset,
                                                         std::span<std::byte> bytes) {
    return read(header.offset + offset, bytes);
  };
  const auto volume = Volume::load(source);
  if (!volume) return std::unexpected(volume.error());
  auto layout = (*volume)->layout();
  if (!layout) return std::unexpected(layout.error());
  if ((*volume)->type() != CRYPT_LUKS1) {
    return fail(EOPNOTSUPP, fmt::format("crypt: {}: its header is {}: in images only LUKS1 is "
                                        "served, which is what QEMU makes",
                                        shown(name), (*volume)->type()));
  }
  layout->data_offset = 0;
  layout->first_number = 0;
  auto key = key_of(spec, context, **volume);
  if (!key) return std::unexpected(key.error());
  auto kept = keep_key(context, *key);
  if (!kept) return std::unexpected(kept.error());
  Target::Children children;
  children.push_back(std::make_unique<BorrowedStorage>(storage));
  const Geometry geometry = geometry_over(children.front()->geometry());
  auto cipher = std::make_unique<CryptTarget>(std::move(children), std::move(*layout),
                                              std::move(*kept), geometry);
  cipher->set_name("crypt");
  return cipher;
}

}  // namespace sluice::crypt
