// Everything a program needs to have a device in its own process: a stack, made from a spec or of
// targets of its own, and the front end that serves it (docs/LENDING.md).
#pragma once

#include "frontend/direct/device.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"
