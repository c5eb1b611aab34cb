// The targets that exist: one line per target in registry.cpp, nothing elsewhere.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/file.hpp"
#include "spec/spec.hpp"
#include "target/target.hpp"

namespace sluice {

// What a target needs while it is opened, and where it leaves the files it uses.
class OpenContext {
 public:
  explicit OpenContext(bool read_only) : read_only_(read_only) {}

  // Whether the whole device is read-only, whatever the target itself says.
  bool read_only() const { return read_only_; }

  // Hands a descriptor to the stack, which closes it at its end. The File is its slot in the
  // registered files of every ring that will serve the stack.
  File add_file(int descriptor);

  std::vector<int> take_files() { return std::move(files_); }

 private:
  bool read_only_;
  std::vector<int> files_;
};

struct TargetType {
  TargetSyntax syntax;
  // Opens the target; the children are open already. The Spec has been checked against the syntax.
  Result<std::unique_ptr<Target>> (*open)(const Spec& spec, Target::Children children,
                                          OpenContext& context);
};

std::span<const TargetType> target_types();
std::span<const TargetSyntax> target_vocabulary();

}  // namespace sluice
