// Bitmaps: the dirty bitmaps of an open image.
//
// Requests mark what they write; the caller of mark() and find() holds a range of the disk, and
// changes of the list need all of it exclusively, so that nobody uses a bitmap that goes. Without
// bitmaps that follow writes a request looks at one pointer.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "target/qcow2/bitmap/bitmap.hpp"

namespace sluice::qcow2 {

class Bitmaps {
 public:
  using List = std::vector<std::unique_ptr<Bitmap>>;

  // --- With a range of the disk held.
  void mark(uint64_t offset, uint64_t length) {
    for (Bitmap* const each : following_) each->mark(offset, length);
  }
  Bitmap* find(std::string_view name) const;

  // --- With all of it, on the control path.
  const List& all() const { return all_; }
  void add(std::unique_ptr<Bitmap> bitmap);
  std::unique_ptr<Bitmap> remove(std::string_view name);
  void set(List list);
  // After a change of what a bitmap is.
  void note_change();

  // Those with bits. Any thread, at any time.
  std::vector<std::string> consistent_names() const;

 private:
  List all_;
  std::vector<Bitmap*> following_;
  mutable std::mutex mutex_;  // guards the names
  std::vector<std::string> names_;
};

}  // namespace sluice::qcow2
