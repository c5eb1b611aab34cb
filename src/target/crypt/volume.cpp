#include "target/crypt/volume.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/big_endian.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"

namespace sluice::crypt {
namespace {

constexpr uint64_t kCopyStepBytes = 1 << 20;
constexpr uint64_t kHeaderAreaMax = 256 << 20;  // the limits of LUKS2 are below
constexpr size_t kKeyBytesMax = 512;
constexpr size_t kLuks1Bytes = 592;
constexpr size_t kLuks1IterationsPlace = 164;  // of its digest
constexpr uint64_t kPlainBytes = 1 << 20;      // of a device that only libcryptsetup sees
// cryptsetup tunes them for one or two seconds: a hostile header must not keep a server for hours.
constexpr uint32_t kPbkdf2IterationsMax = 1U << 26;
constexpr uint32_t kArgon2IterationsMax = 1U << 10;

// The library adds a newline to each.
void note_words(int level, const char* words, void* said) {
  if (level != CRYPT_LOG_ERROR) return;
  std::string text(words);
  while (!text.empty() && (text.back() == '\n' || text.back() == '.')) text.pop_back();
  *static_cast<std::string*>(said) = std::move(text);
}

std::string what_token_lacks(int error) {
  switch (error) {
    case ENOANO:
      return "needs its PIN, or another than this one: give key_file with it";
    case EAGAIN:
      return "needs hardware that is not there";
    case ENOENT:
      return "gives no passphrase: its plug-in is not installed, or finds none";
    case EPERM:
      return "gives no passphrase that opens a keyslot";
    default:
      return fmt::format("gives no passphrase: {}", std::strerror(error));
  }
}

std::string text_of(const char* text) { return text == nullptr ? std::string() : text; }

}  // namespace

Result<std::unique_ptr<Volume>> Volume::load(const HeaderSource& source) {
  auto library = Cryptsetup::load();
  if (!library) return std::unexpected(library.error());
  std::unique_ptr<Volume> volume(new Volume(std::move(*library), source.name));
  if (auto copied = volume->copy_header(source); !copied) return std::unexpected(copied.error());
  if (auto opened = volume->open(); !opened) return std::unexpected(opened.error());
  if (auto read = volume->read_metadata(); !read) return std::unexpected(read.error());
  if (auto copied = volume->copy_keyslots(source); !copied) return std::unexpected(copied.error());
  return volume;
}

Result<std::unique_ptr<Volume>> Volume::plain(const PlainOptions& options) {
  auto library = Cryptsetup::load();
  if (!library) return std::unexpected(library.error());
  std::unique_ptr<Volume> volume(new Volume(std::move(*library), "plain"));
  volume->copy_ = Descriptor(memfd_create("sluice-plain", MFD_CLOEXEC));
  if (!volume->copy_.valid() || ftruncate(volume->copy_.number(), kPlainBytes) != 0) {
    return fail(errno, "there is no memory for a volume");
  }
  if (auto opened = volume->open_copy(); !opened) return std::unexpected(opened.error());
  const crypt_params_plain parameters{.hash = options.hash.c_str(),
                                      .offset = 0,
                                      .skip = 0,
                                      .size = 0,
                                      .sector_size = kSectorUnitBytes};
  const size_t dash = std::min(options.cipher.find('-'), options.cipher.size() - 1);
  const std::string name = options.cipher.substr(0, dash);
  const std::string mode = options.cipher.substr(dash + 1);
  const int made = volume->library_->crypt_format(volume->device_, CRYPT_PLAIN, name.c_str(),
                                                  mode.c_str(), nullptr, nullptr, options.key_bytes,
                                                  const_cast<crypt_params_plain*>(&parameters));
  if (made < 0) return volume->refuse(-made, volume->with_words("it cannot be described"));
  return volume;
}

Volume::~Volume() {
  if (device_ != nullptr) library_->crypt_free(device_);
}

// A sparse file of the size of the volume, as the library compares the header with that.
Result<void> Volume::copy_header(const HeaderSource& source) {
  copy_ = Descriptor(memfd_create("sluice-header", MFD_CLOEXEC));
  if (!copy_.valid() || ftruncate(copy_.number(), static_cast<off_t>(source.size_bytes)) != 0) {
    return fail(errno, "there is no memory for a header");
  }
  if (auto copied = copy(source, 0, kFirstHeaderBytes); !copied) return copied;
  std::vector<std::byte> front(std::min<uint64_t>(source.size_bytes, kFirstHeaderBytes));
  if (pread(copy_.number(), front.data(), front.size(), 0) != static_cast<ssize_t>(front.size())) {
    return fail(errno, "the copy of a header cannot be read");
  }
  constexpr std::string_view kLuks1("LUKS\xba\xbe\0\1", 8);
  const bool is_first =
      front.size() >= kLuks1Bytes && std::memcmp(front.data(), kLuks1.data(), kLuks1.size()) == 0;
  if (is_first) {
    digest_iterations_ = load_big_endian<uint32_t>(front, kLuks1IterationsPlace);
  } else {
    disagreement_ = look_at_copies(front).disagreement();
  }
  return {};
}

Result<void> Volume::copy(const HeaderSource& source, uint64_t from, uint64_t end) {
  const uint64_t last = std::min(end, source.size_bytes);
  std::vector<std::byte> step;
  for (uint64_t offset = from; offset < last; offset += step.size()) {
    step.resize(std::min(last - offset, kCopyStepBytes));
    if (const Status read = source.read(offset, step); !read.ok()) {
      return refuse(read.error(),
                    fmt::format("its header cannot be read: {}", std::strerror(read.error())));
    }
    const ssize_t written =
        pwrite(copy_.number(), step.data(), step.size(), static_cast<off_t>(offset));
    if (written != static_cast<ssize_t>(step.size())) {
      return fail(written < 0 ? errno : ENOSPC, "there is no memory for a header");
    }
  }
  return {};
}

// Without locks: the copy belongs to this process alone.
Result<void> Volume::open_copy() {
  library_->crypt_metadata_locking(nullptr, 0);
  const std::string path = fmt::format("/proc/self/fd/{}", copy_.number());
  if (const int made = library_->crypt_init(&device_, path.c_str()); made < 0) {
    return refuse(-made, fmt::format("libcryptsetup cannot open a copy of its header: {}",
                                     std::strerror(-made)));
  }
  library_->crypt_set_log_callback(device_, note_words, &said_);
  return {};
}

Result<void> Volume::open() {
  if (auto opened = open_copy(); !opened) return opened;
  if (library_->crypt_load(device_, CRYPT_LUKS, nullptr) < 0) {
    return refuse(EINVAL, with_words("it has no LUKS header that can be used"));
  }
  return {};
}

Result<void> Volume::read_metadata() {
  if (type() != CRYPT_LUKS2) return {};
  const char* text = nullptr;
  if (library_->crypt_dump_json(device_, &text, 0) < 0 || text == nullptr) {
    return refuse(EINVAL, with_words("its LUKS2 metadata cannot be read"));
  }
  auto parsed = parse_metadata(text);
  if (!parsed) return refuse(parsed.error().error, parsed.error().text);
  metadata_ = std::move(*parsed);
  digest_iterations_ = digest_iterations(metadata_);
  return {};
}

// The keyslots may be behind what has been copied at first.
Result<void> Volume::copy_keyslots(const HeaderSource& source) {
  uint64_t metadata = 0;
  uint64_t keyslots = 0;
  if (type() != CRYPT_LUKS2 ||
      library_->crypt_get_metadata_size(device_, &metadata, &keyslots) < 0) {
    return {};
  }
  const uint64_t end =
      metadata > kHeaderAreaMax || keyslots > kHeaderAreaMax ? UINT64_MAX : 2 * metadata + keyslots;
  if (end > kHeaderAreaMax) {
    return refuse(EINVAL,
                  fmt::format("its header takes more than {}", format_size(kHeaderAreaMax)));
  }
  return copy(source, kFirstHeaderBytes, end);
}

Result<Layout> Volume::layout() const {
  auto layout = type() == CRYPT_LUKS2 ? read_layout(metadata_) : luks1_layout();
  if (!layout) return refuse(layout.error().error, layout.error().text);
  return layout;
}

Result<Layout> Volume::luks1_layout() const {
  Layout layout;
  const int key_bytes = library_->crypt_get_volume_key_size(device_);
  const uint64_t offset = library_->crypt_get_data_offset(device_);
  if (key_bytes <= 0 || offset > kSizeMax / kSectorUnitBytes) {
    return fail(EINVAL, "its LUKS1 header is malformed");
  }
  layout.key_bytes = static_cast<uint32_t>(key_bytes);
  layout.data_offset = offset * kSectorUnitBytes;
  const auto known = find_cipher(cipher(), layout.key_bytes);
  if (!known) return std::unexpected(known.error());
  layout.cipher = *known;
  return layout;
}

Result<Secret> Volume::unlock(const Secret& passphrase, const UnlockOptions& options) {
  if (type() == CRYPT_PLAIN) return key_of(CRYPT_ANY_SLOT, passphrase);
  if (auto checked = check_digest(); !checked) return std::unexpected(checked.error());
  std::vector<Keyslot> slots = keyslots();
  std::ranges::sort(slots, {},
                    [](const Keyslot& slot) { return std::pair(-slot.priority, slot.number); });
  std::erase_if(slots, [&](const Keyslot& slot) {
    return options.keyslot ? slot.number != *options.keyslot : !slot.bound || slot.priority == 0;
  });
  if (slots.empty()) {
    return refuse(ENOENT, options.keyslot
                              ? fmt::format("its keyslot {} is not in use", *options.keyslot)
                              : std::string("none of its keyslots is in use"));
  }
  Result<void> too_costly;
  for (const Keyslot& slot : slots) {
    if (!slot.bound) {
      return refuse(EINVAL, fmt::format("keyslot {} holds no key of its data", slot.number));
    }
    if (auto checked = check_slot(slot, options); !checked) {
      too_costly = std::move(checked);
      continue;
    }
    auto key = key_of(slot.number, passphrase);
    if (key) {
      if (auto verified = verify(*key); !verified) return std::unexpected(verified.error());
      return key;
    }
    if (key.error().error != EPERM) return key;
  }
  if (!too_costly) return std::unexpected(too_costly.error());
  return refuse(EPERM,
                options.keyslot
                    ? fmt::format("keyslot {} does not open with this passphrase", *options.keyslot)
                    : std::string("no keyslot opens with this passphrase"));
}

Result<void> Volume::check_digest() const {
  if (digest_iterations_ <= kPbkdf2IterationsMax) return {};
  return refuse(E2BIG,
                fmt::format("its digest needs {} iterations of pbkdf2, which may take hours: "
                            "the header is damaged, or made to do harm",
                            digest_iterations_));
}

Result<void> Volume::check_slot(const Keyslot& slot, const UnlockOptions& options) const {
  if (slot.memory_bytes > options.memory_bytes) {
    return refuse(E2BIG,
                  fmt::format("keyslot {} needs {} of memory to open, and {} are allowed: "
                              "give pbkdf_memory={}, or another keyslot",
                              slot.number, format_size(slot.memory_bytes),
                              format_size(options.memory_bytes), format_size(slot.memory_bytes)));
  }
  const bool is_argon2 = slot.memory_bytes != 0;
  if (slot.iterations > (is_argon2 ? kArgon2IterationsMax : kPbkdf2IterationsMax)) {
    return refuse(E2BIG, fmt::format("keyslot {} needs {} iterations of {} to open, which may take "
                                     "hours: use another keyslot",
                                     slot.number, slot.iterations, slot.kdf));
  }
  return {};
}

Result<Secret> Volume::key_of(int slot, const Secret& passphrase) {
  auto key = Secret::create(kKeyBytesMax);
  if (!key) return key;
  size_t size = key->size();
  // Length-carrying: a passphrase may contain any byte.
  const int got = library_->crypt_volume_key_get(
      device_, slot, key->text(), &size, reinterpret_cast<const char*>(passphrase.bytes().data()),
      passphrase.size());
  if (got == -EPERM || got == -ENOENT) return fail(EPERM, {});
  if (got < 0) return refuse(-got, with_words("its key cannot be opened"));
  key->shorten(size);
  return key;
}

// The first that opens counts, as with cryptsetup; the last failure is told.
Result<Secret> Volume::unlock_by_token(std::string_view which, const Secret* pin,
                                       const UnlockOptions& options) {
  if (library_->crypt_volume_key_get_by_keyslot_context == nullptr) {
    return refuse(EOPNOTSUPP, "tokens need libcryptsetup 2.6 or newer");
  }
  if (auto checked = check_digest(); !checked) return std::unexpected(checked.error());
  auto none = refuse(ENOENT, which == kAnyToken ? std::string("it has no tokens")
                                                : fmt::format("it has no token {}", shown(which)));
  Result<Secret> key(std::move(none));
  for (const Token& token : tokens_of(metadata_)) {
    if (which != kAnyToken && which != token.number && which != token.type) continue;
    auto checked = check_slots(token, options);
    key = checked ? key_of(token, pin) : Result<Secret>(std::unexpected(checked.error()));
    if (!key) continue;
    if (auto verified = verify(*key); !verified) return std::unexpected(verified.error());
    return key;
  }
  return key;
}

Result<void> Volume::check_slots(const Token& token, const UnlockOptions& options) const {
  for (const Keyslot& slot : keyslots()) {
    if (std::ranges::find(token.keyslots, std::to_string(slot.number)) == token.keyslots.end()) {
      continue;
    }
    if (auto checked = check_slot(slot, options); !checked) return checked;
  }
  return {};
}

Result<Secret> Volume::key_of(const Token& token, const Secret* pin) {
  auto key = Secret::create(kKeyBytesMax);
  if (!key) return key;
  size_t size = key->size();
  said_.clear();
  crypt_keyslot_context* context = nullptr;
  int got = library_->crypt_keyslot_context_init_by_token(
      device_, std::atoi(token.number.c_str()), nullptr,
      pin == nullptr ? nullptr : reinterpret_cast<const char*>(pin->bytes().data()),
      pin == nullptr ? 0 : pin->size(), nullptr, &context);
  if (got >= 0) {
    got = library_->crypt_volume_key_get_by_keyslot_context(device_, CRYPT_ANY_SLOT, key->text(),
                                                            &size, context);
    library_->crypt_keyslot_context_free(context);
  }
  if (got < 0) {
    return refuse(-got, with_words(fmt::format("its token {} ({}) {}", shown(token.number),
                                               shown(token.type), what_token_lacks(-got))));
  }
  key->shorten(size);
  return key;
}

Result<void> Volume::verify(const Secret& key) const {
  if (auto checked = check_digest(); !checked) return checked;
  const int same = library_->crypt_volume_key_verify(
      device_, reinterpret_cast<const char*>(key.bytes().data()), key.size());
  if (same >= 0) return {};
  return refuse(EPERM, "the key is not that of this volume: its digest differs");
}

std::vector<Keyslot> Volume::keyslots() const {
  std::vector<Keyslot> found;
  const int most = library_->crypt_keyslot_max(type().c_str());
  for (int number = 0; number < most; ++number) {
    const auto state = library_->crypt_keyslot_status(device_, number);
    if (state == CRYPT_SLOT_INVALID || state == CRYPT_SLOT_INACTIVE) continue;
    Keyslot slot{.number = number, .bound = state != CRYPT_SLOT_UNBOUND, .kdf = {}};
    slot.priority = library_->crypt_keyslot_get_priority(device_, number);
    crypt_pbkdf_type kdf{};
    if (library_->crypt_keyslot_get_pbkdf(device_, number, &kdf) >= 0) {
      slot.kdf = text_of(kdf.type);
      slot.iterations = kdf.iterations;
      slot.memory_bytes = uint64_t{kdf.max_memory_kb} << 10;
    }
    found.push_back(std::move(slot));
  }
  return found;
}

std::string Volume::type() const { return text_of(library_->crypt_get_type(device_)); }

std::string Volume::cipher() const {
  return fmt::format("{}-{}", text_of(library_->crypt_get_cipher(device_)),
                     text_of(library_->crypt_get_cipher_mode(device_)));
}

std::string Volume::uuid() const { return text_of(library_->crypt_get_uuid(device_)); }

std::string Volume::label() const { return text_of(library_->crypt_get_label(device_)); }

std::unexpected<Error> Volume::refuse(int error, std::string why) const {
  return fail(error, fmt::format("crypt: {}: {}", shown(name_), why));
}

std::string Volume::with_words(std::string what) const {
  return said_.empty() ? what : fmt::format("{} ({})", what, printable(said_, 200));
}

}  // namespace sluice::crypt
