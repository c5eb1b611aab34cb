// load_module(): makes the kernel load a driver that this machine may have as a module.
#pragma once

namespace sluice {

// Does nothing unless root. Reports no errors: use of the driver shows them. Waits for modprobe.
void load_module(const char* name);

}  // namespace sluice
