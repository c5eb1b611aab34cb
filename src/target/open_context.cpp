#include "target/open_context.hpp"

#include <algorithm>

namespace sluice {

Descriptor OpenContext::inherit() {
  auto& files = inherited_.files;
  return next_ < files.size() ? std::move(files[next_++]) : Descriptor();
}

const Error* OpenContext::missed_before(std::string_view path) const {
  const auto found = std::ranges::find(inherited_.missing, path, &MissingNode::path);
  return found == inherited_.missing.end() ? nullptr : &found->why;
}

Result<void> OpenContext::look_at(Target& target) {
  if (!target.is_living()) return {};
  if (auto started = start_control(); !started) return started;
  return looked_at_.look_at(target, *control_);
}

Result<void> OpenContext::start_control() {
  if (control_ != nullptr) return {};
  auto control = ControlReactor::start();
  if (!control) return std::unexpected(control.error());
  control_ = std::move(*control);
  return {};
}

Status OpenContext::perform(const ControlReactor::Work& work) {
  if (auto started = start_control(); !started) return Status::from_errno(started.error().error);
  return control_->perform(work, ControlReactor::Clock::now() + StackLife::kTimeout);
}

void OpenContext::end_look(size_t kept) {
  if (control_ == nullptr) return;
  looked_at_.end_look(*control_, kept);
  if (kept == 0) control_.reset();
}

void OpenContext::add_private_file(int descriptor) {
  files_.push_back({.descriptor = Descriptor(descriptor), .slot = std::nullopt});
}

File OpenContext::add_file(int descriptor) {
  files_.push_back({.descriptor = Descriptor(descriptor), .slot = FileSlot()});
  return files_.back().slot->file();
}

}  // namespace sluice
