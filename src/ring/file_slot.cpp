#include "ring/file_slot.hpp"

#include "core/lowest_free.hpp"

namespace sluice {
FileSlot::FileSlot() : number_(static_cast<int32_t>(numbers_of_all<FileSlot>().take())) {}

FileSlot::~FileSlot() {
  if (number_ >= 0) numbers_of_all<FileSlot>().give_back(static_cast<uint32_t>(number_));
}

std::vector<int> file_table(std::span<const RegisteredFile> files) {
  std::vector<int> table;
  for (const RegisteredFile& each : files) {
    const auto slot = static_cast<size_t>(each.slot.number);
    if (slot >= table.size()) table.resize(slot + 1, -1);
    table[slot] = each.descriptor;
  }
  return table;
}

}  // namespace sluice
