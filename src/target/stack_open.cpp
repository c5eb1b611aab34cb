// Stack: opens the targets of a spec.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "spec/shown.hpp"
#include "target/missing.hpp"
#include "target/open_context.hpp"
#include "target/stack.hpp"
#include "target/verb.hpp"

namespace sluice {
namespace {

// "stripe", "loop(disk.img)".
std::string shown_name(const Spec& spec, const TargetSyntax& syntax) {
  for (const OptionSyntax& option : syntax.options) {
    if (option.kind != OptionKind::path || option.name != syntax.leaf_option) continue;
    const std::string file = spec.text(option.name);
    return fmt::format("{}({})", spec.target, printable(file.substr(file.rfind('/') + 1), 64));
  }
  return spec.target;
}

// EINVAL: it holds disks, and is none that a target could use.
Result<void> check_is_disk(const Target& child) {
  if (child.disk_names().empty()) return {};
  return fail(EINVAL, fmt::format("{} holds disks of their own for clients: it can only be the "
                                  "whole spec, not a part of another target",
                                  child.name()));
}

class Opener {
 public:
  explicit Opener(OpenContext& context) : context_(context) {}

  // `is_disk`: clients see the target itself.
  Result<std::unique_ptr<Target>> open(const Spec& spec, const std::string& path, bool is_disk) {
    const TargetType* const type = find_type(spec);
    if (type == nullptr) return fail(EINVAL, fmt::format("unknown target '{}'", spec.target));
    const size_t looked_at = context_.looked_at();
    Target::Children children;
    std::unique_ptr<Target> target;
    auto opened = open_children(spec, path, *type, is_disk && type->holds_disks, children);
    context_.note_disk(is_disk && !type->holds_disks);
    if (opened) opened = open_one(spec, *type, children, target);
    if (opened) return target;
    context_.end_look(looked_at);  // while the children are there
    context_.take_files();
    return std::unexpected(opened.error());
  }

 private:
  const TargetType* find_type(const Spec& spec) const {
    const auto types = context_.types();
    const auto found = std::ranges::find(types, spec.target,
                                         [](const TargetType& each) { return each.syntax.name; });
    return found == types.end() ? nullptr : &*found;
  }

  Result<void> open_children(const Spec& spec, const std::string& path, const TargetType& type,
                             bool are_disks, Target::Children& children) {
    for (size_t i = 0; i < spec.children.size(); ++i) {
      const Spec& child = spec.children[i];
      const std::string child_path = fmt::format("{}/{}", path, i);
      Result<std::unique_ptr<Target>> opened;
      if (const Error* const missed = context_.missed_before(child_path)) {
        opened = std::unexpected(*missed);
      } else {
        opened = open_child(spec, type, child, child_path, are_disks);
        if (!opened && context_.inherits()) return std::unexpected(opened.error());
      }
      if (!opened && !type.accepts_missing) return std::unexpected(opened.error());
      if (!opened) opened = missing(child, opened.error());
      if (auto checked = check_is_disk(**opened); !checked) return checked;
      children.push_back(std::move(*opened));
    }
    return {};
  }

  // The storage of an image that is only read is not to be written either, nor what a target only
  // reads.
  Result<std::unique_ptr<Target>> open_child(const Spec& spec, const TargetType& type,
                                             const Spec& child, const std::string& path,
                                             bool is_disk) {
    const bool was_read_only = context_.read_only();
    const bool reads_image = spec.flag("read_only") || spec.has("snapshot");
    if (type.only_reads || (type.reads_images && reads_image)) context_.set_read_only(true);
    if (type.reads_images) context_.set_opens_image(true);
    auto opened = open(child, path, is_disk);
    if (type.reads_images) context_.set_opens_image(false);
    context_.set_read_only(was_read_only);
    return opened;
  }

  std::unique_ptr<Target> missing(const Spec& spec, const Error& why) const {
    auto target = std::make_unique<Missing>(why);
    target->set_name(shown_name(spec, find_type(spec)->syntax));
    return target;
  }

  // The targets above it are made for its geometry.
  Result<void> open_one(const Spec& spec, const TargetType& type, Target::Children& children,
                        std::unique_ptr<Target>& target) {
    auto opened = type.open(spec, std::move(children), context_);
    if (!opened) return std::unexpected(opened.error());
    target = std::move(*opened);
    target->own(context_.take_files());
    target->set_name(shown_name(spec, type.syntax));
    return context_.look_at(*target);
  }

  OpenContext& context_;
};

Result<void> check(const Spec& spec, const OpenContext& context) {
  std::vector<TargetSyntax> vocabulary;
  for (const TargetType& type : context.types()) vocabulary.push_back(type.syntax);
  return check_spec(spec, vocabulary);
}

}  // namespace

Result<std::unique_ptr<Target>> OpenContext::open(const Spec& spec) {
  return Opener(*this).open(spec, "", /*is_disk=*/false);
}

Result<std::unique_ptr<Stack>> Stack::open(const Spec& spec, bool read_only, bool force) {
  OpenContext context(read_only, force);
  return open(spec, context);
}

Result<std::unique_ptr<Stack>> Stack::open(const Spec& spec, OpenContext& context) {
  if (auto checked = check(spec, context); !checked) return std::unexpected(checked.error());
  auto root = Opener(context).open(spec, "", /*is_disk=*/true);
  context.end_look();
  if (!root) return std::unexpected(root.error());
  if (!context.all_inherited()) return fail(EINVAL, "there are more files than the spec names");
  auto stack = std::make_unique<Stack>(std::move(*root));
  stack->spec_ = spec;
  stack->outlives_server_ = context.outlives_server();
  return stack;
}

// For a verb. The files that were passed belong to this process when the caller has gone.
Result<Target::Children> Stack::open_children(std::string_view path, const Spec& verb,
                                              ControlOptions& options) const {
  const bool read_only = geometry().read_only;
  const auto known = nodes();
  const auto node = std::ranges::find(known, path, &StackNode::path);
  OpenContext context = options.files ? OpenContext(read_only, {.files = std::move(*options.files)})
                                      : OpenContext(read_only);
  const bool are_open = node != known.end() && brings_open_files(node->type, verb.target);
  context.set_outlives_server(outlives_server_);
  context.set_locks_later(are_open);
  context.set_opens_image(are_open);
  Target::Children children;
  for (const Spec& child : verb.children) {
    auto opened = Opener(context).open(child, "", /*is_disk=*/false);
    context.end_look();
    if (!opened) return std::unexpected(opened.error());
    if (auto checked = check_is_disk(**opened); !checked) return std::unexpected(checked.error());
    own_files_of(**opened, true);
    children.push_back(std::move(*opened));
  }
  if (!context.all_inherited()) return fail(EINVAL, "there are more files than the verb names");
  return children;
}

}  // namespace sluice
