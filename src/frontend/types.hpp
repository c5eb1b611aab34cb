// The constants of all front ends, for the registry only: each folder of a front end defines one. A
// new front end is declared here and listed in registry.cpp; nothing else knows it by name.
#pragma once

#include "frontend/frontend_type.hpp"

namespace sluice {

extern const FrontendType kUblkFrontend;
extern const FrontendType kLoopFrontend;
extern const FrontendType kFuseFrontend;
extern const FrontendType kNbdFrontend;

}  // namespace sluice
