// Everything a program needs to have a device in its own process: a stack, made from a spec or of
// targets of its own, the front end that serves it, the log and the events (docs/LENDING.md).
#pragma once

#include "core/events.hpp"
#include "core/log.hpp"
#include "frontend/direct/device.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"
