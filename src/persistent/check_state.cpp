#include "persistent/check_state.hpp"

#include <fmt/format.h>

#include <utility>

namespace sluice::persistent {
namespace {

const char* describe(BlockUse use) {
  switch (use) {
    case BlockUse::device_roots:
      return "the mapping tree";
    case BlockUse::mappings:
      return "the mappings of a device";
    case BlockUse::devices:
      return "the device tree";
    case BlockUse::data_index:
      return "the index of the data space map";
    case BlockUse::reference_counts:
      return "the reference counts";
    case BlockUse::bitmap:
      return "a bitmap";
    case BlockUse::metadata_index:
      return "the index of the metadata space map";
    case BlockUse::superblock:
      return "a superblock";
  }
  return "";
}

// Counts the references, and goes into each node once.
class Counting final : public TreeVisitor {
 public:
  Counting(CheckState& state, BlockUse use, const std::function<void(const NodeView&)>& take)
      : state_(state), use_(use), take_(take) {}

  std::optional<Subtree> enter(uint64_t number) override {
    if (state_.refer(number, use_)) return std::nullopt;
    const auto known = state_.known.find(number);
    const bool is_same = known != state_.known.end() && known->second.use == use_;
    return is_same ? known->second.below : Subtree{};
  }
  bool leaf(const NodeView& node) override {
    take_(node);
    return true;
  }
  void leave(uint64_t number, const Subtree& found) override { state_.known[number].below = found; }
  bool fault(Error error) override {
    state_.lose(error);
    return true;
  }

 private:
  CheckState& state_;
  const BlockUse use_;
  const std::function<void(const NodeView&)>& take_;
};

}  // namespace

void CheckState::say(std::string sentence) {
  if (result.sentences.size() < CheckResult::kSentencesMost) {
    result.sentences.push_back(std::move(sentence));
  } else {
    ++result.more_sentences;
  }
}

void CheckState::corrupt(std::string sentence) {
  ++result.corruptions;
  say(std::move(sentence));
}

void CheckState::leak(uint64_t blocks, std::string sentence) {
  result.leaks += blocks;
  say(std::move(sentence));
}

void CheckState::lose(const Error& error) {
  complete = false;
  if (error.error == EILSEQ || error.error == EINVAL) return corrupt(error.text);
  ++result.check_errors;
  say(error.text);
}

bool CheckState::refer(uint64_t number, BlockUse use) {
  if (number >= superblock.metadata_space_map.blocks) {
    lose({EILSEQ, fmt::format("{} refers to block {}, and the metadata has {}", describe(use),
                              number, superblock.metadata_space_map.blocks)});
    return false;
  }
  const bool is_first = metadata.add(number) == 0;
  const auto [found, is_new] = known.try_emplace(number, Known{.use = use});
  if (!is_new && found->second.use != use) {
    corrupt(fmt::format("block {} belongs to {} and to {}", number, describe(found->second.use),
                        describe(use)));
  }
  if (!is_first) return false;
  if (progress_) progress_(++done_, superblock.metadata_space_map.allocated);
  return true;
}

bool CheckState::load(uint64_t number, BlockUse use, Block block) {
  if (!refer(number, use)) return false;
  auto read = reader.read(number, block);
  if (!read) lose(read.error());
  return read.has_value();
}

Subtree CheckState::walk(uint64_t root, BlockUse use, uint32_t value_bytes,
                         const std::function<void(const NodeView&)>& take) {
  Counting counting(*this, use, take);
  walk_tree(reader, root, value_bytes, counting);
  const auto found = known.find(root);
  return found == known.end() ? Subtree{} : found->second.below;
}

}  // namespace sluice::persistent
