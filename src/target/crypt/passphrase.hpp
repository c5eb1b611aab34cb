// Passphrases: reads them from where the options say.
//
// A server has neither the terminal nor the descriptors of its user. What comes from there is read
// by the command before, and given to the targets of the same process, or of one that it forks. It
// is kept until it is forgotten, as a stack may be opened several times. Control path, one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "target/crypt/options.hpp"
#include "target/crypt/secret.hpp"

namespace sluice::crypt {

inline constexpr size_t kPassphraseBytesMax = 8 << 20;  // as in cryptsetup

// EACCES: only the process of the user could read it, and has not given it.
Result<Secret> read_passphrase(const KeySource& source);

// The bytes of `file` from the offset on, up to the size or to the end; newlines are bytes like all
// others, as with --key-file of cryptsetup. `name`: for messages. EINVAL: none, too few, too many.
Result<Secret> read_key_bytes(int file, std::string_view name, const KeySource& source);

// Where KeySource::identity says so.
void give_passphrase(const std::string& identity, Secret passphrase);
bool is_given(const std::string& identity);
// Wipes all of them.
void forget_passphrases();

}  // namespace sluice::crypt
