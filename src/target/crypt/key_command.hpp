// The command of key_cmd: what it writes to its standard output is the passphrase.
#pragma once

#include "core/error.hpp"
#include "target/crypt/options.hpp"
#include "target/crypt/secret.hpp"

namespace sluice::crypt {

// Runs it in a shell, with an empty standard input. It must end well, and within a minute: then it
// is killed. Control path.
Result<Secret> read_from_command(const KeySource& source);

}  // namespace sluice::crypt
