// The registry of targets: one line per target in registry.cpp.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "core/error.hpp"
#include "spec/spec.hpp"
#include "target/target.hpp"

namespace sluice {

class OpenContext;

struct TargetType {
  TargetSyntax syntax;
  // Opens the target; the children are open already, and are left alone if it cannot be. The Spec
  // has been checked against the syntax.
  Result<std::unique_ptr<Target>> (*open)(const Spec& spec, Target::Children&& children,
                                          OpenContext& context);
  // The commands that Target::control() knows, as the "targets" of their notation.
  std::span<const TargetSyntax> verbs = {};
  // Those whose children are files that the target has open already, and whose locks it moves.
  std::span<const std::string_view> verbs_with_open_files = {};
  // A child that cannot be opened is a Missing one. open() refuses if there are too many.
  bool accepts_missing = false;
  // Its children hold an image format that it reads: no surprise, wherever it is found.
  bool reads_images = false;
  // Its children are only read, whatever clients write to it.
  bool only_reads = false;
  // Each child is a disk of its own for clients (Target::disk_names()).
  bool holds_disks = false;
};

// Null: there is none of that name.
const TargetType* find_target_type(std::string_view name);

std::span<const TargetType> target_types();
std::span<const TargetSyntax> target_vocabulary();

}  // namespace sluice
