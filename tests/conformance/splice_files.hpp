// Helpers for the tests of the splice interfaces: files for splice, and files that refuse it.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>

#include <string>

#include "conformance/scene.hpp"
#include "lend/splice_file.hpp"

namespace sluice::test {

inline lend::SpliceFile looked_at(const Descriptor& file) {
  return lend::SpliceFile::of(file.number());
}

// Another description of the same file.
inline Descriptor opened_anew(const Descriptor& file, int flags) {
  const std::string path = "/proc/self/fd/" + std::to_string(file.number());
  return Descriptor(open(path.c_str(), flags | O_CLOEXEC));
}

// A file of zeroes with room for so many bytes: a write of more ends there with EPERM.
inline Descriptor make_full_file(size_t bytes) {
  Descriptor file(memfd_create("conformance", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(ftruncate(file.number(), static_cast<off_t>(bytes)), 0);
  EXPECT_EQ(fcntl(file.number(), F_ADD_SEALS, F_SEAL_GROW), 0);
  return file;
}

}  // namespace sluice::test
