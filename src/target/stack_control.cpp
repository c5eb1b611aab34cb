// Stack: commands to one of its targets.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>

#include "spec/shown.hpp"
#include "target/control_call.hpp"
#include "target/open_context.hpp"
#include "target/stack.hpp"
#include "target/tree_lock.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kControlTimeout{20};

// The caller of a verb waits for its end.
struct Waiting {
  std::mutex mutex;
  bool over = false;
};

void add_nodes(const Spec& spec, const Target& target, const std::string& path,
               std::vector<StackNode>& found) {
  found.push_back({.path = path.empty() ? "/" : path, .type = spec.target, .name = target.name()});
  // While a child is exchanged, its spec may be older than the child.
  const std::vector<Target*> children = target.named_children();
  const size_t count = std::min(spec.children.size(), children.size());
  for (size_t i = 0; i < count; ++i) {
    add_nodes(spec.children[i], *children[i], fmt::format("{}/{}", path, i), found);
  }
}

void add_missing(const Target& target, const std::string& path, std::vector<MissingNode>& found) {
  if (const Error* const why = target.missing()) found.push_back({.path = path, .why = *why});
  const std::vector<Target*> children = target.named_children();
  for (size_t i = 0; i < children.size(); ++i) {
    add_missing(*children[i], fmt::format("{}/{}", path, i), found);
  }
}

// The child numbers of a path, from the root down; nullopt: not a path.
std::optional<std::vector<size_t>> read_path(std::string_view path) {
  std::vector<size_t> numbers;
  if (!path.starts_with('/')) return std::nullopt;
  path.remove_prefix(1);
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    size_t number = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), number);
    if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) return std::nullopt;
    numbers.push_back(number);
    if (name.size() == path.size()) break;
    path.remove_prefix(name.size() + 1);
    if (path.empty()) return std::nullopt;
  }
  return numbers;
}

// Null: there is no such target.
Target* find_node(Target& root, std::string_view path) {
  const auto numbers = read_path(path);
  if (!numbers) return nullptr;
  Target* found = &root;
  for (const size_t number : *numbers) {
    const std::vector<Target*> children = found->named_children();
    if (number >= children.size()) return nullptr;
    found = children[number];
  }
  return found;
}

}  // namespace

std::vector<StackNode> Stack::nodes() const {
  const std::shared_lock guard(tree_lock());
  std::vector<StackNode> found;
  if (!spec_.target.empty()) add_nodes(spec_, *root_, "", found);
  return found;
}

std::vector<MissingNode> Stack::missing() const {
  const std::shared_lock guard(tree_lock());
  std::vector<MissingNode> found;
  add_missing(*root_, "", found);
  return found;
}

Result<JsonValue> Stack::control(std::string_view path, const Spec& verb, ControlOptions options) {
  Target* const target = find_node(*root_, path);
  if (target == nullptr) {
    return fail(ENOENT, fmt::format("there is no target {} in this stack: 'sluice ctl DEVICE' "
                                    "lists the paths",
                                    shown(path)));
  }
  auto children = open_children(path, verb, options);
  if (!children) return std::unexpected(children.error());
  std::unique_ptr<ControlReactor> own;  // of a stack that has none
  if (control_ == nullptr) {
    auto started = ControlReactor::start();
    if (!started) return std::unexpected(started.error());
    own = std::move(*started);
  }
  // Shared, since a call that has not ended by the deadline may write to it later.
  const auto call = std::make_shared<ControlCall>();
  call->verb = verb;
  call->children = std::move(*children);
  const auto waiting = std::make_shared<Waiting>();
  call->publish = [this, waiting, record = options.record, path = std::string(path),
                   raw = call.get()](const Spec& changed) {
    const std::scoped_lock guard(waiting->mutex);
    if (waiting->over) return raw->fail(ETIMEDOUT, "the command has timed out");
    auto published = publish(path, changed, record);
    return published ? kOk : raw->fail(published.error().error, published.error().text);
  };
  call->deadline = ControlCall::Clock::now() + kControlTimeout;
  constexpr std::chrono::seconds kGrace{1};  // for a target to end a call that has timed out
  const auto work = [call, target](Request& request) { return target->control(request, *call); };
  const auto end = call->deadline + kGrace;
  // A leg that hangs must not end the jobs of a living stack.
  const Status status = own ? own->perform(work, end) : control_->perform_or_leave(work, end);
  if (status.ok()) return std::move(call->answer);
  if (status.error() == EINPROGRESS || (own && status.error() == ETIMEDOUT)) {
    const std::scoped_lock guard(waiting->mutex);
    waiting->over = true;
    return fail(ETIMEDOUT,
                fmt::format("{} has not carried out {} within {} seconds{}", target->name(),
                            verb.target, kControlTimeout.count(),
                            own ? "" : ": it goes on, and changes nothing in the spec any more"));
  }
  if (status.error() == EBUSY && call->why.empty()) {
    return fail(EBUSY, fmt::format("an earlier command to {} has not ended yet: try again later",
                                   target->name()));
  }
  return fail(status.error(), call->why.empty()
                                  ? fmt::format("{} cannot carry out {}: {}", target->name(),
                                                verb.target, std::strerror(status.error()))
                                  : call->why);
}

Result<void> Stack::publish(std::string_view path, const Spec& own,
                            const ControlOptions::Record& record) {
  Spec changed = spec_;
  Spec* node = &changed;
  const auto numbers = read_path(path);
  for (const size_t number : *numbers) {
    if (number >= node->children.size()) return fail(ENOENT, "the spec has no such target");
    node = &node->children[number];
  }
  *node = own;
  if (record) {
    if (auto recorded = record(changed); !recorded) return recorded;
  }
  const std::scoped_lock guard(tree_lock());
  spec_ = std::move(changed);
  return {};
}

}  // namespace sluice
