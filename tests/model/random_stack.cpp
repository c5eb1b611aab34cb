#include "model/random_stack.hpp"

#include <algorithm>
#include <fstream>
#include <stdexcept>

#include "target/registry.hpp"

namespace sluice::test {
namespace {

constexpr int kDepth = 3;

// In memory if possible: with buffered I/O the kind of disk makes no difference except for speed.
std::filesystem::path make_folder(bool buffered_io) {
  std::filesystem::path parent = std::filesystem::temp_directory_path();
  if (buffered_io && std::filesystem::is_directory("/dev/shm")) parent = "/dev/shm";
  std::string path = (parent / "sluice-model-XXXXXX").string();
  if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("cannot make " + path);
  return path;
}

}  // namespace

RandomStack::RandomStack(uint64_t seed, Faults faults, uint64_t unit_bytes, bool buffered_io)
    : random_(seed),
      faults_(faults),
      unit_(unit_bytes),
      buffered_io_(buffered_io),
      folder_(make_folder(buffered_io)),
      tree_(make(kDepth)) {}

RandomStack::~RandomStack() { std::filesystem::remove_all(folder_); }

std::string RandomStack::text() const { return to_text(tree_.spec, target_vocabulary()); }

RandomStack::Tree RandomStack::make(int depth) {
  Tree tree;
  const uint64_t kind = depth == kDepth ? number(1, 3) : depth == 0 ? 0 : number(0, 4);
  switch (kind) {
    case 1:
      tree = make_linear(depth);
      break;
    case 2:
      tree = make_stripe(depth);
      break;
    case 3:
      tree = make_verify(depth);
      break;
    default:
      tree = make_leaf();
      break;
  }
  // The top always has a fault target, so that every run tests faults.
  const bool wanted = faults_ != Faults::none && (depth == kDepth || chance(30));
  return wanted ? add_fault(std::move(tree)) : tree;
}

RandomStack::Tree RandomStack::make_leaf() {
  const uint64_t size = number(8, 64) * 4096 + number(0, 4095) / unit_ * unit_;
  if (faults_ != Faults::none || chance(50)) return make_file(size);
  Tree tree{.spec = {.target = "mem", .options = {}, .children = {}}, .size_bytes = size};
  tree.spec.set("size", size);
  return tree;
}

RandomStack::Tree RandomStack::make_file(uint64_t size_bytes) {
  const std::filesystem::path path = folder_ / std::to_string(files_++);
  std::ofstream(path).close();
  std::filesystem::resize_file(path, size_bytes);
  Tree tree{.spec = {.target = "loop", .options = {}, .children = {}}, .size_bytes = size_bytes};
  tree.spec.set("file", path.string());
  if (buffered_io_) tree.spec.set("buffered_io", true);
  return tree;
}

RandomStack::Tree RandomStack::make_linear(int depth) {
  Tree tree{.spec = {.target = "linear", .options = {}, .children = {}}, .size_bytes = 0};
  for (uint64_t left = number(1, 3); left != 0; --left) {
    Tree child = make(depth - 1);
    tree.size_bytes += child.size_bytes;
    tree.spec.children.push_back(std::move(child.spec));
  }
  if (chance(40)) {
    const uint64_t offset = number(0, tree.size_bytes / 4 / unit_) * unit_;
    tree.spec.set("offset", offset);
    tree.size_bytes -= offset;
    if (chance(50)) {
      tree.size_bytes -= number(0, tree.size_bytes / 4 / unit_) * unit_;
      tree.spec.set("size", tree.size_bytes);
    }
  }
  return tree;
}

RandomStack::Tree RandomStack::make_stripe(int depth) {
  Tree tree{.spec = {.target = "stripe", .options = {}, .children = {}}, .size_bytes = 0};
  const uint64_t members = number(1, 4);
  uint64_t smallest = UINT64_MAX;
  for (uint64_t i = 0; i < members; ++i) {
    Tree child = make(depth - 1);
    smallest = std::min(smallest, child.size_bytes);
    tree.spec.children.push_back(std::move(child.spec));
  }
  const uint64_t chunk = number(1, std::min<uint64_t>(smallest, 40 << 10) / unit_) * unit_;
  tree.spec.set("chunk", chunk);
  tree.size_bytes = smallest / chunk * chunk * members;
  return tree;
}

// Copies can only be compared if both get every write.
RandomStack::Tree RandomStack::make_verify(int depth) {
  if (faults_ != Faults::none) return make_linear(depth);
  Tree tree = make(depth - 1);
  Tree reference{.spec = {.target = "mem", .options = {}, .children = {}},
                 .size_bytes = tree.size_bytes};
  reference.spec.set("size", tree.size_bytes);
  return {.spec = {.target = "verify",
                   .options = {},
                   .children = {std::move(tree.spec), std::move(reference.spec)}},
          .size_bytes = tree.size_bytes};
}

RandomStack::Tree RandomStack::add_fault(Tree child) {
  Tree tree{.spec = {.target = "fault", .options = {}, .children = {std::move(child.spec)}},
            .size_bytes = child.size_bytes};
  tree.spec.set("seed", number(0, UINT32_MAX));
  if (faults_ == Faults::errors) {
    tree.spec.set("errors", "2%");
    tree.spec.set("short", "3%");
    if (chance(30)) {
      tree.spec.set("delay", "10us");
      tree.spec.set("delay_rate", "20%");
    }
    // A failed flush ends all writes at once.
    tree.spec.set("ops", "read+write+discard+write_zeroes");
  } else {
    tree.spec.set("cache", "volatile");
    tree.spec.set("torn", chance(70));
    tree.spec.set("fua", chance(70));
    tree.spec.set("cache_size", number(1, 32) * 4096);
  }
  return tree;
}

Spec RandomStack::strip(const Spec& spec) {
  if (spec.target == "fault") return strip(spec.children[0]);
  Spec stripped = spec;
  for (Spec& child : stripped.children) child = strip(child);
  return stripped;
}

}  // namespace sluice::test
