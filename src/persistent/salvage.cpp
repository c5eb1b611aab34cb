#include "persistent/salvage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "persistent/salvage_scan.hpp"

namespace sluice::persistent {
namespace {

// More trees than that are not compared: they are all old ones.
constexpr size_t kTreesMost = 64;

struct RootsChoice {
  uint64_t number = 0;
  FoundRoots found = {};
  std::map<uint64_t, MappingSurvey::Found> mappings = {};  // by device
  uint32_t newest = 0;
  uint64_t entries = 0;

  auto rank() const { return std::tuple(newest, entries, found.roots.size()); }
};

class Salvaging {
 public:
  Salvaging(BlockReader& reader, const SalvageFacts& facts, const CheckProgress& progress)
      : reader_(reader), facts_(facts), progress_(progress), survey_(reader) {}

  Result<Salvage> run() {
    auto loaded = load_superblock(reader_);
    if (loaded) {
      superblock_ = *loaded;
    } else {
      salvage_.say(loaded.error().text);
    }
    if (auto chosen = choose(); !chosen) return std::unexpected(chosen.error());
    if (auto set = set_facts(); !set) return std::unexpected(set.error());
    for (const auto& [id, root] : roots_.found.roots) add_device(id, root);
    for (const auto& [id, details] : details_.details) {
      if (!roots_.found.roots.contains(id)) {
        salvage_.say(fmt::format("device {} is lost: its mappings cannot be found", id));
      }
    }
    return std::move(salvage_);
  }

 private:
  Result<void> choose();
  RootsChoice look_at(uint64_t number);
  uint64_t matches(const RootsChoice& roots, const FoundDetails& details) const;
  void choose_roots(const NodeScan& scan, bool details_are_whole);
  void choose_details(const NodeScan& scan);
  Result<void> set_facts();
  void add_device(uint64_t id, uint64_t root);

  BlockReader& reader_;
  const SalvageFacts& facts_;
  const CheckProgress& progress_;
  MappingSurvey survey_;
  Salvage salvage_;
  std::optional<Superblock> superblock_;
  RootsChoice roots_;
  FoundDetails details_;
  bool roots_are_chosen_ = false;
  bool is_current_ = false;  // both trees are those of the superblock
};

// What the superblock leads to, unless it is damaged at the top: below, only that is lost.
Result<void> Salvaging::choose() {
  bool details_are_whole = false;
  if (superblock_) {
    roots_ = look_at(superblock_->mapping_root);
    roots_are_chosen_ = roots_.found.is_whole;
    details_ = find_details(reader_, superblock_->device_root);
    details_are_whole = details_.is_whole;
    is_current_ = roots_are_chosen_ && details_are_whole;
    if (is_current_) return {};
  }
  const NodeScan scan = scan_nodes(reader_, progress_);
  if (!superblock_ && scan.copy) {
    superblock_ = scan.copy;
    salvage_.say("the facts of the pool are those of a copy of the superblock");
  }
  if (!roots_are_chosen_) choose_roots(scan, details_are_whole);
  if (!roots_are_chosen_ && roots_.found.roots.empty()) {
    return fail(EINVAL, "there is no tree of mappings that can be read");
  }
  if (!details_are_whole) choose_details(scan);
  return {};
}

RootsChoice Salvaging::look_at(uint64_t number) {
  RootsChoice choice{.number = number, .found = find_roots(reader_, number)};
  for (const auto& [id, root] : choice.found.roots) {
    const MappingSurvey::Found found = survey_.look(root);
    choice.newest = std::max(choice.newest, found.newest);
    choice.entries += found.entries;
    choice.mappings[id] = found;
  }
  return choice;
}

// Devices that have as many mappings as their details say.
uint64_t Salvaging::matches(const RootsChoice& roots, const FoundDetails& details) const {
  return static_cast<uint64_t>(std::ranges::count_if(roots.mappings, [&](const auto& mapping) {
    const auto found = details.details.find(mapping.first);
    return found != details.details.end() && found->second.mapped_blocks == mapping.second.entries;
  }));
}

// By the details that are there, or else the newest of those with the most mappings.
void Salvaging::choose_roots(const NodeScan& scan, bool details_are_whole) {
  std::vector<RootsChoice> choices;
  if (!roots_.found.roots.empty()) choices.push_back(std::move(roots_));
  for (const uint64_t number : scan.device_roots) {
    choices.push_back(look_at(number));
    if (choices.size() <= 2 * kTreesMost) continue;
    std::ranges::sort(choices, std::greater(), &RootsChoice::rank);
    choices.resize(kTreesMost);
  }
  if (choices.empty()) return;
  if (details_are_whole) {
    const auto best = std::ranges::max_element(choices, {}, [&](const RootsChoice& choice) {
      return std::tuple(matches(choice, details_), choice.rank());
    });
    roots_ = std::move(*best);
    return salvage_.say("the mapping tree is damaged: another one that fits the devices is used");
  }
  // A pair in which everything fits was committed as it is.
  std::ranges::sort(choices, std::greater(), &RootsChoice::rank);
  choices.resize(std::min(choices.size(), kTreesMost));
  std::vector<FoundDetails> details;
  for (const uint64_t number : scan.devices) {
    if (details.size() < 2 * kTreesMost) details.push_back(find_details(reader_, number));
  }
  const auto fits = [&](const RootsChoice& choice) {
    return std::ranges::any_of(details, [&](const FoundDetails& each) {
      return each.details.size() == choice.mappings.size() &&
             matches(choice, each) == choice.mappings.size();
    });
  };
  const auto fitting = std::ranges::find_if(choices, fits);
  roots_ = std::move(fitting == choices.end() ? choices.front() : *fitting);
  salvage_.say("the trees of the pool are those that were found in its blocks");
}

// Those that fit best, and of them the newest.
void Salvaging::choose_details(const NodeScan& scan) {
  const auto rank = [&](const FoundDetails& found) {
    uint32_t newest = 0;
    for (const auto& [id, details] : found.details) {
      newest = std::max(newest, std::max(details.creation_time, details.snapshotted_time));
    }
    return std::tuple(matches(roots_, found), newest);
  };
  auto best = rank(details_);
  for (const uint64_t number : scan.devices) {
    FoundDetails found = find_details(reader_, number);
    const auto ranked = rank(found);
    if (ranked <= best || std::get<0>(ranked) == 0) continue;
    best = ranked;
    details_ = std::move(found);
  }
}

Result<void> Salvaging::set_facts() {
  const auto sectors = facts_.data_block_sectors ? facts_.data_block_sectors
                       : superblock_             ? std::optional(superblock_->data_block_sectors)
                                                 : std::nullopt;
  if (!sectors) return fail(EINVAL, "the superblock is lost, and with it the size of data blocks");
  salvage_.data_block_sectors = *sectors;
  salvage_.time = std::max(superblock_ ? superblock_->time : 0, roots_.newest);
  uint64_t transaction_id = 0;
  for (const auto& [id, details] : details_.details) {
    const uint32_t latest = std::max(details.creation_time, details.snapshotted_time);
    if (latest <= kTimeMost) salvage_.time = std::max(salvage_.time, latest);
    transaction_id = std::max(transaction_id, details.transaction_id);
  }
  if (superblock_) transaction_id = superblock_->transaction_id;
  salvage_.transaction_id = facts_.transaction_id.value_or(transaction_id);
  if (!superblock_ && !facts_.transaction_id) {
    salvage_.say(fmt::format("the transaction is {}, that of the newest device", transaction_id));
  }
  const uint64_t stated = superblock_ ? superblock_->data_space_map.blocks : 0;
  salvage_.data_blocks = facts_.data_blocks.value_or(std::min(stated, kDataBlocksMost));
  if (salvage_.data_blocks != 0) return {};
  // A copy of the superblock does not have it.
  for (const auto& [id, root] : roots_.found.roots) {
    Salvage all{.data_blocks = kDataBlocksMost};
    const auto take = [&](const MappedRun& run) -> Result<void> {
      salvage_.data_blocks = std::max(salvage_.data_blocks, run.data_block + run.length);
      return {};
    };
    const auto done = for_each_salvaged_run(reader_, all, {.root = root}, take);
    if (!done) return done;
  }
  salvage_.say(fmt::format("there are {} data blocks, up to the last one that is mapped",
                           salvage_.data_blocks));
  return {};
}

void Salvaging::add_device(uint64_t id, uint64_t root) {
  uint64_t mapped = 0;
  const auto count = [&](const MappedRun& run) -> Result<void> {
    mapped += run.length;
    return {};
  };
  std::ignore = for_each_salvaged_run(reader_, salvage_, {.root = root}, count);
  ThinDevice device{.id = id, .root = root};
  const auto details = details_.details.find(id);
  if (details != details_.details.end()) {
    device.details = details->second;
  } else {
    device.details.mapped_blocks = mapped;
    salvage_.say(fmt::format("the details of device {} are lost, but not its mappings", id));
  }
  // Old details do not tell of younger snapshots: all of it may be shared.
  if (!is_current_) device.details.snapshotted_time = salvage_.time;
  device.details.creation_time = std::min(device.details.creation_time, salvage_.time);
  device.details.snapshotted_time = std::min(device.details.snapshotted_time, salvage_.time);
  if (device.details.mapped_blocks != mapped || !roots_.mappings[id].is_whole) {
    salvage_.say(fmt::format("{} of the {} mappings of device {} can be read", mapped,
                             device.details.mapped_blocks, id));
  }
  device.details.mapped_blocks = mapped;
  salvage_.devices.push_back(device);
}

// The runs of the leaves that can be read, as far as their data blocks exist.
class RunTaker final : public TreeVisitor {
 public:
  RunTaker(uint64_t data_blocks, const std::function<Result<void>(const MappedRun&)>& take)
      : data_blocks_(data_blocks), take_(take) {}

  bool leaf(const NodeView& node) override {
    for (uint32_t i = 0; i < node.entries() && result; ++i) {
      const Mapping mapping = Mapping::from(node.value64(i));
      if (mapping.data_block < data_blocks_) add(node.key(i), mapping);
    }
    return result.has_value();
  }
  bool fault(Error) override { return true; }
  void end() {
    if (result && run_.length != 0) result = take_(run_);
  }

  Result<void> result = {};

 private:
  void add(uint64_t block, const Mapping& mapping) {
    const bool continues = run_.length != 0 && run_.device_block + run_.length == block &&
                           run_.data_block + run_.length == mapping.data_block &&
                           run_.time == mapping.time;
    if (continues) {
      ++run_.length;
      return;
    }
    end();
    run_ = {
        .device_block = block, .data_block = mapping.data_block, .length = 1, .time = mapping.time};
  }

  const uint64_t data_blocks_;
  const std::function<Result<void>(const MappedRun&)>& take_;
  MappedRun run_;
};

}  // namespace

void Salvage::say(std::string sentence) {
  if (sentences.size() < kSentencesMost) {
    sentences.push_back(std::move(sentence));
  } else {
    ++more_sentences;
  }
}

Result<Salvage> find_salvage(BlockReader& reader, const SalvageFacts& facts,
                             const CheckProgress& progress) {
  return Salvaging(reader, facts, progress).run();
}

Result<void> for_each_salvaged_run(BlockReader& reader, const Salvage& salvage,
                                   const ThinDevice& device,
                                   const std::function<Result<void>(const MappedRun&)>& take) {
  RunTaker taker(salvage.data_blocks, take);
  walk_tree(reader, device.root, Mapping::kBytes, taker);
  taker.end();
  return std::move(taker.result);
}

}  // namespace sluice::persistent
