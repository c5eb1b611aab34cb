// The bytes of a header that is on a target.
#pragma once

#include <functional>
#include <string>

#include "target/crypt/volume.hpp"
#include "target/life/control_reactor.hpp"
#include "target/target.hpp"

namespace sluice::crypt {

// `perform`: runs work on a reactor to which the target is attached, and waits for its end.
HeaderSource header_source(Target& holder, std::string name,
                           std::function<Status(const ControlReactor::Work&)> perform);

}  // namespace sluice::crypt
