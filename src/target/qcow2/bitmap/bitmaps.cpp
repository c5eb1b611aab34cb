#include "target/qcow2/bitmap/bitmaps.hpp"

#include <algorithm>
#include <utility>

namespace sluice::qcow2 {

Bitmap* Bitmaps::find(std::string_view name) const {
  const auto found = std::ranges::find_if(all_, [&](auto& each) { return each->name() == name; });
  return found == all_.end() ? nullptr : found->get();
}

void Bitmaps::add(std::unique_ptr<Bitmap> bitmap) {
  all_.push_back(std::move(bitmap));
  note_change();
}

std::unique_ptr<Bitmap> Bitmaps::remove(std::string_view name) {
  const auto found = std::ranges::find_if(all_, [&](auto& each) { return each->name() == name; });
  if (found == all_.end()) return nullptr;
  std::unique_ptr<Bitmap> removed = std::move(*found);
  all_.erase(found);
  note_change();
  return removed;
}

void Bitmaps::set(List list) {
  all_ = std::move(list);
  note_change();
}

void Bitmaps::note_change() {
  following_.clear();
  std::vector<std::string> names;
  for (const auto& each : all_) {
    if (each->follows_writes()) following_.push_back(each.get());
    if (!each->inconsistent()) names.push_back(each->name());
  }
  const std::lock_guard guard(mutex_);
  names_ = std::move(names);
}

std::vector<std::string> Bitmaps::consistent_names() const {
  const std::lock_guard guard(mutex_);
  return names_;
}

}  // namespace sluice::qcow2
