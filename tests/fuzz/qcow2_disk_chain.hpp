// MemoryChain: the files of a chain of images in memory, and those that verbs bring to change it.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qcow2_disk_input.hpp"
#include "qcow2_disk_storage.hpp"
#include "target/control_call.hpp"
#include "target/qcow2/offline/create.hpp"

namespace sluice::fuzz {

class MemoryChain {
 public:
  static constexpr std::string_view kImage = "/image";

  // `backing`: raw; null: there is none.
  MemoryChain(Waiting& waiting, Memory& image, Memory* backing) : waiting_(waiting) {
    if (backing != nullptr) chain_.emplace_back("/backing", backing);
    chain_.emplace_back(kImage, &image);
  }

  // In the file that was brought last, above all others, or in one of them.
  void go_on_in(const std::string& path) {
    const auto found = std::ranges::find(chain_, path, &Named::first);
    if (found == chain_.end()) {
      chain_.emplace_back(path, above_.back().get());
    } else {
      chain_.erase(found + 1, chain_.end());
    }
  }

  // The file below the active one.
  void bring_backing(ControlCall& call) {
    if (chain_.size() < 2) return;
    const auto& [path, memory] = chain_[chain_.size() - 2];
    bring(call, path, *memory);
  }

  // An empty image above the active one. False: there are too many already, or none can be made.
  bool bring_overlay(ControlCall& call, uint64_t size_bytes, uint8_t choice) {
    static const std::array<Pages, 3> pages;
    if (above_.size() == pages.size()) return false;
    const Descriptor file(memfd_create("above", MFD_CLOEXEC));
    const auto made = qcow2::create_image(file.number(), -1,
                                          {.size_bytes = size_bytes,
                                           .cluster_bits = choice % 2 == 0 ? 16U : 12U,
                                           .extended_l2 = choice % 4 == 0,
                                           .backing_name = chain_.back().first,
                                           .backing_format = "qcow2"});
    if (!made) return false;
    const auto bytes = static_cast<size_t>(lseek(file.number(), 0, SEEK_END));
    if (bytes > kMemoryBytes - kSectorBytes) return false;
    std::vector<std::byte> contents((bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes);
    require(pread(file.number(), contents.data(), bytes, 0) == static_cast<ssize_t>(bytes),
            "a memory file cannot be read");
    const std::string path = "/above" + std::to_string(above_.size());
    above_.push_back(std::make_unique<Memory>(waiting_, pages[above_.size()], contents, true));
    bring(call, path, *above_.back());
    return true;
  }

 private:
  using Named = std::pair<std::string, Memory*>;

  static void bring(ControlCall& call, const std::string& path, Memory& memory) {
    Spec file{.target = "loop"};
    file.set("file", path);
    call.verb.children.push_back(std::move(file));
    call.children.push_back(std::make_unique<OpenedMemory>(memory, true));
  }

  Waiting& waiting_;
  std::vector<Named> chain_;                    // from below
  std::vector<std::unique_ptr<Memory>> above_;  // also those that were refused
};

}  // namespace sluice::fuzz
