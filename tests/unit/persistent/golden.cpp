#include "unit/persistent/golden.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace sluice::persistent::test {

std::vector<std::byte> golden(const std::string& name, size_t blocks) {
  const char* const source = std::getenv("SLUICE_SOURCE_DIR");
  std::ifstream file(std::string(source == nullptr ? "." : source) +
                     "/tests/unit/persistent/golden/" + name);
  EXPECT_TRUE(file) << name;
  std::vector<std::byte> image(blocks * kBlockBytes);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    size_t place = 0;
    words >> std::hex >> place;
    words.ignore(1, ':');
    for (unsigned byte = 0; words >> byte; ++place) image.at(place) = static_cast<std::byte>(byte);
  }
  return image;
}

}  // namespace sluice::persistent::test
