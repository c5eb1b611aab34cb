// Volume: the header of an encrypted volume, in memory: what it says, and its key.
//
// libcryptsetup reads a copy of the header area in a file without a name, so that nothing can be
// written to the volume, and no device of the kernel is made. Control path; unlock() takes seconds
// and up to the allowed memory. The library is unloaded with the last Volume.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "core/status.hpp"
#include "spec/json_value.hpp"
#include "target/crypt/layout.hpp"
#include "target/crypt/libraries.hpp"
#include "target/crypt/luks2_metadata.hpp"
#include "target/crypt/secret.hpp"

namespace sluice::crypt {

// The bytes that hold the header.
struct HeaderSource {
  std::string name;  // for messages
  uint64_t size_bytes = 0;
  std::function<Status(uint64_t offset, std::span<std::byte> bytes)> read;
};

struct PlainOptions {
  std::string cipher;
  uint32_t key_bytes = 0;
  std::string hash;  // empty: the passphrase is the key
};

struct Keyslot {
  int number = 0;
  bool bound = true;  // holds the key of the data
  int priority = 1;
  std::string kdf;
  uint32_t iterations = 0;
  uint64_t memory_bytes = 0;  // 0: takes none worth mentioning
};

struct UnlockOptions {
  std::optional<int> keyslot = {};  // none: all, in the order of their priority
  uint64_t memory_bytes = uint64_t{1} << 30;
};

class Volume {
 public:
  // EINVAL: there is no LUKS header.
  static Result<std::unique_ptr<Volume>> load(const HeaderSource& source);
  // Without a header.
  static Result<std::unique_ptr<Volume>> plain(const PlainOptions& options);
  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;
  ~Volume();

  // What can be served; the Error names what cannot.
  Result<Layout> layout() const;
  // EPERM: no keyslot opens with this passphrase; E2BIG: the ones that may would take too much
  // memory or time.
  Result<Secret> unlock(const Secret& passphrase, const UnlockOptions& options);
  // By a token of LUKS2, whose plug-in of libcryptsetup may ask a TPM or wait for a finger.
  // `which`: its number, its type, or "any". `pin`: null if none is given. ENOANO: it needs one, or
  // another; EAGAIN: the hardware is not there.
  Result<Secret> unlock_by_token(std::string_view which, const Secret* pin,
                                 const UnlockOptions& options);
  // EPERM: it is not the key of this volume.
  Result<void> verify(const Secret& key) const;

  std::vector<Keyslot> keyslots() const;
  std::string type() const;    // LUKS1, LUKS2, PLAIN
  std::string cipher() const;  // aes-xts-plain64
  std::string uuid() const;
  std::string label() const;
  // Of LUKS2; null for the others.
  const JsonValue& metadata() const { return metadata_; }
  // A sentence if the two headers of LUKS2 are not the same.
  const std::string& disagreement() const { return disagreement_; }

 private:
  Volume(std::shared_ptr<const Cryptsetup> library, std::string name)
      : library_(std::move(library)), name_(std::move(name)) {}
  Result<void> copy_header(const HeaderSource& source);
  Result<void> copy(const HeaderSource& source, uint64_t from, uint64_t end);
  Result<void> copy_keyslots(const HeaderSource& source);
  Result<void> open();
  Result<void> open_copy();
  Result<void> read_metadata();
  Result<void> check_digest() const;
  Result<void> check_slot(const Keyslot& slot, const UnlockOptions& options) const;
  Result<Secret> key_of(int slot, const Secret& passphrase);
  Result<Secret> key_of(const Token& token, const Secret* pin);
  Result<void> check_slots(const Token& token, const UnlockOptions& options) const;
  Result<Layout> luks1_layout() const;
  std::unexpected<Error> refuse(int error, std::string why) const;
  std::string with_words(std::string what) const;

  const std::shared_ptr<const Cryptsetup> library_;
  const std::string name_;
  Descriptor copy_;
  crypt_device* device_ = nullptr;
  JsonValue metadata_;
  std::string disagreement_;
  uint64_t digest_iterations_ = 0;
  std::string said_;  // the last error of the library
};

}  // namespace sluice::crypt
