// NewOverlay: the new image of an external snapshot (`sluice ctl ... external-snapshot FILE`),
// which the command makes and the server goes on in.
#pragma once

#include <string>
#include <string_view>

#include "cli/failure.hpp"
#include "core/error.hpp"
#include "spec/spec.hpp"

namespace sluice::cli {

class NewOverlay {
 public:
  explicit NewOverlay(uint32_t device) : device_(device) {}
  NewOverlay(const NewOverlay&) = delete;
  NewOverlay& operator=(const NewOverlay&) = delete;
  // Removes the file again unless a server may have taken it. Close it before.
  ~NewOverlay();

  // Makes the file that `verb` names, durably: an empty overlay of the image that the target at
  // `target_path` of the device serves. It must not exist.
  Outcome<void> make(std::string_view target_path, Spec& verb);
  void keep() { path_.clear(); }

 private:
  bool is_taken() const;

  const uint32_t device_;
  std::string path_;  // of the file; empty: there is none, or it stays
};

}  // namespace sluice::cli
