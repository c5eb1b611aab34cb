// open_leaf(): opens a target without children, such as "mem:1M".
#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "target/open_context.hpp"
#include "target/target.hpp"

namespace sluice::test {

inline std::unique_ptr<Target> open_leaf(std::string_view text) {
  const Spec spec = *parse_spec(text, target_vocabulary());
  OpenContext context(false);
  auto leaf = std::move(*find_target_type(spec.target)->open(spec, {}, context));
  leaf->own(context.take_files());
  return leaf;
}

}  // namespace sluice::test
