// The passphrases that only the user's own process can read: from its terminal and its descriptors.
#pragma once

#include "cli/failure.hpp"
#include "spec/spec.hpp"

namespace sluice::cli {

// Writes key_fd=0 in place of key_file=-, before paths are made absolute.
void name_standard_input(Spec& spec);

// Reads those that the targets of the spec need, and keeps them for the targets that this process,
// or one that it forks, opens (target/crypt/passphrase.hpp). Asks on the terminal where a target
// names no source; without a terminal that is an error.
Outcome<void> read_passphrases(const Spec& spec);

}  // namespace sluice::cli
