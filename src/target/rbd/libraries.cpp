#include "target/rbd/libraries.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cerrno>
#include <string>

namespace sluice::rbd {
namespace {

constexpr const char* kRadosFile = "librados.so.2";
constexpr const char* kRbdFile = "librbd.so.1";

struct LoadedLibrary {
  Library functions;
  std::string fault = {};  // empty: none
};

template <typename Function>
void find(void* handle, const char* name, Function& function, std::string& fault) {
  if (handle == nullptr) return;
  function = reinterpret_cast<Function>(dlsym(handle, name));
  if (function == nullptr) fault = fmt::format("{} is not in it", name);
}

void* open_library(const char* file, std::string& fault) {
  void* const handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) fault = dlerror();
  return handle;
}

// Never unloaded: their threads may use them until the process ends.
LoadedLibrary load_both() {
  LoadedLibrary loaded;
  void* const rados = open_library(kRadosFile, loaded.fault);
  void* const rbd = open_library(kRbdFile, loaded.fault);
#define SLUICE_FIND_FUNCTION(name) find(rados, #name, loaded.functions.name, loaded.fault);
  SLUICE_RADOS_FUNCTIONS(SLUICE_FIND_FUNCTION)
#undef SLUICE_FIND_FUNCTION
#define SLUICE_FIND_FUNCTION(name) find(rbd, #name, loaded.functions.name, loaded.fault);
  SLUICE_RBD_FUNCTIONS(SLUICE_FIND_FUNCTION)
#undef SLUICE_FIND_FUNCTION
  return loaded;
}

}  // namespace

Result<const Library*> Library::load() {
  static const LoadedLibrary loaded = load_both();
  if (loaded.fault.empty()) return &loaded.functions;
  return fail(ENOENT,
              fmt::format("rbd needs librbd 16.2 or newer (package librbd1): {}", loaded.fault));
}

}  // namespace sluice::rbd
