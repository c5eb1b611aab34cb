// The words of target crypt in a spec, and of others that open encrypted data.
#pragma once

#include "spec/joined.hpp"
#include "spec/vocabulary.hpp"

namespace sluice::crypt {

inline constexpr uint64_t kPbkdfMemoryBytes = uint64_t{1} << 30;  // cryptsetup's own limit

// Where the key comes from.
inline constexpr OptionSyntax kKeyOptions[] = {
    {.name = "key_file",
     .kind = OptionKind::path,
     .help = "the passphrase: all bytes of this file; -: of the standard input"},
    {.name = "key_fd",
     .kind = OptionKind::count,
     .maximum = INT32_MAX,
     .help = "the same, from this descriptor of the command"},
    {.name = "key_cmd", .help = "the same: what this shell command writes"},
    {.name = "key_file_offset",
     .kind = OptionKind::size,
     .fallback = "0",
     .help = "where the passphrase begins there"},
    {.name = "key_file_size",
     .kind = OptionKind::size,
     .minimum = 1,
     .maximum = 8 << 20,
     .help = "its length; up to the end, at most 8M, if not given"},
    {.name = "keyslot",
     .kind = OptionKind::count,
     .maximum = 31,
     .help = "the only keyslot to try; all if not given"},
    {.name = "pbkdf_memory",
     .kind = OptionKind::size,
     .fallback = "1G",
     .minimum = 32 << 10,
     .maximum = uint64_t{4} << 30,
     .help = "memory that opening a keyslot may take"},
};

inline constexpr OptionSyntax kVolumeOptions[] = {
    {.name = "token",
     .help = "the token of LUKS2 that gives the key: its number or type, or any; a key_file, "
             "key_fd or key_cmd is then its PIN"},
    {.name = "header",
     .kind = OptionKind::spec,
     .help = "where the LUKS header is, if that is detached"},
    {.name = "allow_discards",
     .kind = OptionKind::flag,
     .help = "pass discards on, which shows where data is; as the header says if not given"},
    {.name = "type",
     .fallback = "luks",
     .help = "luks, or plain: without a header, so that a wrong passphrase is not noticed"},
    {.name = "cipher", .help = "of plain: aes-xts-plain64, aes-xts-plain, aes-cbc-essiv:sha256"},
    {.name = "size",
     .kind = OptionKind::count,
     .minimum = 8,
     .maximum = 4096,
     .help = "of plain: bits of the key"},
    {.name = "hash", .help = "of plain: hash that makes the key of a passphrase that is typed"},
    {.name = "offset",
     .kind = OptionKind::size,
     .fallback = "0",
     .help = "of plain: where the data begins"},
    {.name = "skip",
     .kind = OptionKind::size,
     .fallback = "0",
     .help = "of plain: what precedes the data in the numbers of its sectors"},
};

inline constexpr auto kCryptOptions = joined(kKeyOptions, kVolumeOptions);

}  // namespace sluice::crypt
