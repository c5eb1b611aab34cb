#include "target/crypt/libraries.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <type_traits>

namespace sluice::crypt {
namespace {

constexpr const char* kCryptsetupFile = "libcryptsetup.so.12";
constexpr const char* kLibcryptoFile = "libcrypto.so.3";

struct LoadedLibrary {
  explicit LoadedLibrary(const char* file) : handle(dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
    if (handle == nullptr) fault = dlerror();
  }

  template <typename Function>
  void find(const char* name, Function& function) {
    look_for(name, function);
    if (handle != nullptr && function == nullptr) fault = fmt::format("{} is not in it", name);
  }

  template <typename Function>
  void look_for(const char* name, Function& function) {
    if (handle != nullptr) function = reinterpret_cast<Function>(dlsym(handle, name));
  }

  void* handle;
  std::string fault = {};  // empty: none
};

struct LoadedLibcrypto {
  Libcrypto functions;
  std::string fault;
};

LoadedLibcrypto load_libcrypto() {
  LoadedLibcrypto loaded;
  LoadedLibrary library(kLibcryptoFile);
#define SLUICE_FIND(name) library.find(#name, loaded.functions.name);
  SLUICE_LIBCRYPTO(SLUICE_FIND)
#undef SLUICE_FIND
  loaded.fault = std::move(library.fault);
  return loaded;
}

}  // namespace

Result<std::shared_ptr<const Cryptsetup>> Cryptsetup::load() {
  LoadedLibrary library(kCryptsetupFile);
  Cryptsetup functions;
#define SLUICE_FIND(name) library.find(#name, functions.name);
  SLUICE_CRYPTSETUP(SLUICE_FIND)
#undef SLUICE_FIND
#define SLUICE_LOOK_FOR(name) library.look_for(#name, functions.name);
  SLUICE_CRYPTSETUP_TOKENS(SLUICE_LOOK_FOR)
#undef SLUICE_LOOK_FOR
  if (!library.fault.empty()) {
    if (library.handle != nullptr) dlclose(library.handle);
    return fail(ENOENT, fmt::format("crypt needs libcryptsetup (package libcryptsetup12): {}",
                                    library.fault));
  }
  return std::shared_ptr<const Cryptsetup>(new Cryptsetup(functions),
                                           [handle = library.handle](const Cryptsetup* table) {
                                             delete table;
                                             dlclose(handle);
                                           });
}

Result<const Libcrypto*> libcrypto() {
  static const LoadedLibcrypto loaded = load_libcrypto();
  if (loaded.fault.empty()) return &loaded.functions;
  return fail(ENOENT, fmt::format("crypt needs OpenSSL 3 (package libssl3): {}", loaded.fault));
}

}  // namespace sluice::crypt
