// FileSlot: claims a slot in the tables of registered files of all rings of the process, so that
// the files of two stacks never meet in one slot of a ring that serves both.
//
// Its owner keeps it until every ring that registered the file has dropped it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/descriptor.hpp"
#include "core/file.hpp"

namespace sluice {

class FileSlot {
 public:
  FileSlot();
  FileSlot(FileSlot&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  FileSlot& operator=(FileSlot&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~FileSlot();

  File file() const { return {.number = number_, .registered = true}; }

 private:
  int32_t number_;
};

// A file that a target has opened, and its slot, if requests use it.
struct OpenFile {
  Descriptor descriptor;
  std::optional<FileSlot> slot;
};

// An entry of such a table.
struct RegisteredFile {
  File slot;
  int descriptor = -1;  // -1: set later
};

// The table with these entries, -1 in all other slots, for KernelRing::Options.
std::vector<int> file_table(std::span<const RegisteredFile> files);

}  // namespace sluice
