#include "target/stack.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "spec/shown.hpp"
#include "target/registry.hpp"

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

Result<std::unique_ptr<Target>> open_target(const Spec& spec, OpenContext& context) {
  Target::Children children;
  for (const Spec& child : spec.children) {
    auto opened = open_target(child, context);
    if (!opened) return opened;
    children.push_back(std::move(*opened));
  }
  for (const TargetType& type : target_types()) {
    if (type.syntax.name != spec.target) continue;
    auto opened = type.open(spec, std::move(children), context);
    if (opened) (*opened)->set_name(shown_name(spec, type.syntax));
    return opened;
  }
  return fail(EINVAL, fmt::format("unknown target '{}'", spec.target));
}

// A failed flush may have dropped what was acknowledged before. A durable write that was refused or
// found no room has dropped nothing.
bool lost_data(const Request& request, Status status) {
  return request.op == Op::flush ? !status.ok() : status.failed();
}

// An option `size` is the size of the target itself, whichever that is.
void note_sizes(Spec& spec, const Target& target) {
  const uint64_t size = target.geometry().size_bytes;
  if (spec.has("size")) spec.set("size", size);
  for (size_t i = 0; i < spec.children.size(); ++i) note_sizes(spec.children[i], target.child(i));
}

bool all_may_link(const Target& target) {
  return target.may_link() && std::ranges::all_of(target.children(), [](const auto& child) {
           return all_may_link(*child);
         });
}

Result<void> check_all(const Target& target) {
  auto checked = target.check_reopening();
  for (const auto& child : target.children()) {
    if (checked) checked = check_all(*child);
  }
  return checked;
}

}  // namespace

Result<std::unique_ptr<Stack>> Stack::open(const Spec& spec, bool read_only) {
  if (auto checked = check_spec(spec, target_vocabulary()); !checked) {
    return std::unexpected(checked.error());
  }
  OpenContext context(read_only);
  auto root = open_target(spec, context);
  std::vector<int> files = context.take_files();
  if (root) {
    auto stack = std::make_unique<Stack>(std::move(*root), std::move(files));
    stack->spec_ = spec;
    return stack;
  }
  for (const int file : files) close(file);
  return std::unexpected(root.error());
}

Stack::Stack(std::unique_ptr<Target> root, std::vector<int> files)
    : root_(std::move(root)), files_(std::move(files)), may_link_(all_may_link(*root_)) {}

Stack::~Stack() {
  root_.reset();
  for (const int file : files_) close(file);
}

Result<uint64_t> Stack::resize(std::optional<uint64_t> wanted) {
  auto size = root_->resize(wanted);
  if (!spec_.target.empty()) note_sizes(spec_, *root_);
  return size;
}

Result<void> Stack::check_reopening() const { return check_all(*root_); }

Task Stack::submit(Request& request) {
  if (trace_) [[unlikely]] {
    spdlog::debug("{}{} offset {} length {}", to_string(request.op), request.fua ? " fua" : "",
                  request.offset, request.length);
  }
  const bool changes = request.op != Op::read;
  if (changes && failed()) return Status::from_errno(EIO);
  if (request.op == Op::flush || (changes && request.fua)) return submit_durable(request);
  return root_->submit(request);
}

Task Stack::submit_durable(Request& request) {
  Task serving = root_->submit(request);
  const Status status = co_await serving;
  if (lost_data(request, status) && !failed_.exchange(true)) {
    spdlog::error("{} failed: {}; refusing writes until the device is opened again",
                  request.op == Op::flush ? "flush" : "durable write",
                  std::strerror(status.error()));
  }
  co_return status;
}

}  // namespace sluice
