#include "tls/openssl.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cerrno>
#include <string>

namespace sluice::tls {
namespace {

constexpr const char* kLibraries[] = {"libcrypto.so.3", "libssl.so.3"};

struct Loaded {
  OpenSsl functions;
  std::string fault;  // empty: none
};

// The libraries stay for the life of the process.
Loaded load() {
  Loaded loaded;
  void* libraries[2] = {};
  for (size_t i = 0; i < std::size(kLibraries); ++i) {
    libraries[i] = dlopen(kLibraries[i], RTLD_NOW | RTLD_LOCAL);
    if (libraries[i] != nullptr) continue;
    loaded.fault = dlerror();
    return loaded;
  }
  const auto find = [&](const char* name) {
    void* const in_crypto = dlsym(libraries[0], name);
    void* const found = in_crypto != nullptr ? in_crypto : dlsym(libraries[1], name);
    if (found == nullptr) loaded.fault = fmt::format("{} is not in it", name);
    return found;
  };
#define SLUICE_FIND(name) loaded.functions.name = reinterpret_cast<decltype(&::name)>(find(#name));
  SLUICE_OPENSSL(SLUICE_FIND)
#undef SLUICE_FIND
  return loaded;
}

const Loaded& the_library() {
  static const Loaded loaded = load();
  return loaded;
}

}  // namespace

Result<void> load_openssl() {
  const std::string& fault = the_library().fault;
  if (fault.empty()) return {};
  return fail(ENOENT, fmt::format("TLS needs OpenSSL 3 (package libssl3): {}", fault));
}

const OpenSsl& openssl() { return the_library().functions; }

}  // namespace sluice::tls
