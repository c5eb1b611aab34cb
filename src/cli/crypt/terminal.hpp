// Asks for a passphrase on the controlling terminal, without showing it.
#pragma once

#include <string>

#include "core/error.hpp"
#include "target/crypt/secret.hpp"

namespace sluice::cli {

// Up to the end of the line, without that. ENXIO: there is no terminal. A signal that would end the
// process does so, but the terminal is as it was before. One thread.
Result<crypt::Secret> ask_on_terminal(const std::string& prompt);

}  // namespace sluice::cli
