// Checks and repairs any bytes as a qcow2 image. A check finds the same twice, and writes nothing.
// A repair changes nothing in the tables but their flags, and leaves no cluster with a refcount
// that is lower than its references.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/big_endian.hpp"
#include "spec/shown.hpp"
#include "target/qcow2/l2_entry.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/offline/repair.hpp"

namespace {

using namespace sluice::qcow2;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "qcow2_check_fuzz: %s\n", what);
  std::abort();
}

int file() {
  static const int descriptor = memfd_create("image", MFD_CLOEXEC);
  return descriptor;
}

void append_entries(std::vector<uint64_t>& all, uint64_t offset, uint64_t length) {
  const auto bytes = read_image(file(), offset, length);
  require(bytes.has_value(), "a table cannot be read again");
  for (size_t i = 0; i < bytes->size(); i += 8) {
    all.push_back(sluice::load_big_endian<uint64_t>(*bytes, i) & ~kCopied);
  }
}

// The entries of the active tables now, without their flags. Tables that have other users are left
// out.
std::vector<uint64_t> entries(const Check& check) {
  std::vector<uint64_t> all;
  append_entries(all, check.header.l1_offset, uint64_t{check.header.l1_entries} * 8);
  for (const auto& [offset, use] : check.l2_tables) {
    if (use.active == 0 || check.references.at(offset >> check.header.cluster_bits).overlaps()) {
      continue;
    }
    append_entries(all, offset, check.header.cluster_bytes());
  }
  return all;
}

bool is_too_low(const Check& check) {
  return std::ranges::any_of(check.references.groups(), [](const auto& group) {
    return std::ranges::any_of(group.second, &ClusterReferences::too_low);
  });
}

bool has_l1_overlap(const Check& check) {
  const uint64_t end = check.header.l1_offset + uint64_t{check.header.l1_entries} * 8;
  for (uint64_t at = check.header.l1_offset; at < end; at += check.header.cluster_bytes()) {
    if (check.references.at(at >> check.header.cluster_bits).overlaps()) return true;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::byte> input(reinterpret_cast<const std::byte*>(data),
                                     reinterpret_cast<const std::byte*>(data) + size);
  require(ftruncate(file(), 0) == 0, "no file");
  require(write_image(file(), 0, input).has_value(), "the file cannot be written");
  const auto first = check_image(file());
  if (!first) {
    require(!first.error().text.empty() && sluice::is_utf8(first.error().text), "no sentence");
    return 0;
  }
  const auto second = check_image(file());
  require(second && second->result.corruptions == first->result.corruptions &&
              second->result.leaks == first->result.leaks,
          "a second check finds something else");
  require(*read_image(file(), 0, input.size()) == input, "a check has written");
  for (const auto& each : first->result.sentences) {
    require(sluice::is_utf8(each) && each.find('\n') == std::string::npos, "no sentence");
  }
  const auto before = entries(*first);
  const auto repaired = repair_image(file(), input.size() % 4 == 1 ? Repair::leaks : Repair::all);
  if (!repaired) return 0;
  const auto last = check_image(file());
  require(last.has_value(), "a repaired image cannot be checked");
  if (has_l1_overlap(*first)) return 0;
  require(input.size() % 4 == 1 || !first->complete || !is_too_low(*last), "a refcount is too low");
  require(entries(*first) == before, "a repair has changed an entry");
  return 0;
}
