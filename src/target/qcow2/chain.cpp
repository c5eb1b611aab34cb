#include "target/qcow2/chain.hpp"

#include <mutex>
#include <tuple>
#include <utility>

#include "target/control_call.hpp"
#include "target/qcow2/chain_commit.hpp"
#include "target/qcow2/chain_stream.hpp"
#include "target/qcow2/chain_verbs.hpp"
#include "target/tree_lock.hpp"

namespace sluice::qcow2 {
namespace {

Target::Children only(std::unique_ptr<Target> child) {
  Target::Children children;
  children.push_back(std::move(child));
  return children;
}

// Of the image itself, which other changes need as it is.
bool changes_snapshots(std::string_view verb) {
  return verb.starts_with("snapshot-") && verb != "snapshot-list";
}

}  // namespace

Chain::Chain(Spec spec, std::string path, std::unique_ptr<Qcow2Target> active)
    : Target(only(std::move(active))),
      spec_(std::move(spec)),
      path_(std::move(path)),
      life_(child(0)),
      stream_(std::make_unique<Stream>(*this)),
      commit_(std::make_unique<Commit>(*this)) {
  geometry_ = child(0).geometry();
}

Chain::~Chain() = default;

// --- Life

Task Chain::start(Request& request, LifeCall& call) {
  control_ = request.ring;
  if (call.purpose == LifeCall::Purpose::look) {
    Task looking = active().start(request, call);
    if (const Status looked = co_await looking; !looked.ok()) co_return looked;
    geometry_.size_bytes = active().geometry().size_bytes;
    co_return kOk;
  }
  Task starting = life_.start_here(request, call);
  if (const Status started = co_await starting; !started.ok()) co_return started;
  geometry_.size_bytes = active().geometry().size_bytes;
  is_serving_ = true;
  jobs_ = call.jobs;
  reactor_ = call.control;
  has_streamed_ = false;
  is_streaming_ = false;
  go_on_streaming(*request.ring);
  co_return kOk;
}

Task Chain::attach(Request& request, LifeCall& call) {
  if (request.ring == control_) co_return kOk;  // start_here() has done it
  // A ring may be older than the last change of the tree.
  for (const RegisteredFile& file : registered_files_of(child(0))) {
    request.ring->put_file(file.slot, file.descriptor);
  }
  Task attaching = life_.attach(request, call);
  const Status attached = co_await attaching;
  if (attached.ok()) rings_.join(*request.ring);
  co_return attached;
}

Task Chain::detach(Request& request, LifeCall& call) {
  if (request.ring == control_) co_return kOk;
  Task leaving = rings_.leave(request);
  std::ignore = co_await leaving;
  Task detaching = life_.detach(request, call);
  co_return co_await detaching;
}

Task Chain::stop(Request& request, LifeCall& call) {
  control_ = nullptr;
  if (!std::exchange(is_serving_, false)) {  // after a look
    Task stopping = active().stop(request, call);
    co_return co_await stopping;
  }
  if (std::exchange(has_streamed_, false)) {
    Task ending = jobs_->end_some(request, {stream_.get()});
    std::ignore = co_await ending;
  }
  Task giving_up = commit_->give_up(request);
  std::ignore = co_await giving_up;
  Task stopping = life_.stop_here(request, call);
  co_return co_await stopping;
}

// --- Requests

// Again, if a commit fails meanwhile: the backing file is then read anew, with no request in
// flight.
Task Chain::do_submit(Request& request) {
  for (;;) {
    {
      RangeLock::Hold pass(gate_, *request.ring, 0, 1, RangeLock::Mode::shared);
      co_await pass;
      Task serving = child(0).submit(request);
      const Status served = co_await serving;
      if (served.ok() || !commit_->is_failing()) co_return served;
    }
    auto pause = request.ring->sleep(std::chrono::milliseconds(1));
    std::ignore = co_await pause;
  }
}

Task Chain::do_extents(Request& request, Extents& found) {
  RangeLock::Hold pass(gate_, *request.ring, 0, 1, RangeLock::Mode::shared);
  co_await pass;
  Task finding = child(0).extents(request, found);
  co_return co_await finding;
}

std::vector<std::string> Chain::contexts() const {
  const std::scoped_lock guard(tree_lock());
  return active().contexts();
}

Task Chain::context_status(Request& request, const std::string& context, StatusRuns& found) {
  RangeLock::Hold pass(gate_, *request.ring, 0, 1, RangeLock::Mode::shared);
  co_await pass;
  Task finding = active().context_status(request, context, found);
  co_return co_await finding;
}

// No change of the chain comes in between: both are calls of the control path, or a step of the job
// that looks at the size again.
Result<uint64_t> Chain::do_resize(std::optional<uint64_t> wanted) {
  if (wanted && *wanted != geometry_.size_bytes && commit_->is_begun()) {
    return fail(EBUSY, "the image is being committed: end that with commit pivot or commit cancel");
  }
  return child(0).resize(wanted);
}

// --- Commands

Task Chain::control(Request& request, ControlCall& call) {
  if (call.verb.target == kExternalSnapshot) return take_snapshot(request, call);
  if (call.verb.target == kStream) return control_stream(request, call);
  if (call.verb.target == kCommit) return commit_->control(request, call);
  if (commit_->is_begun() && changes_snapshots(call.verb.target)) return commit_->refuse(call);
  return child(0).control(request, call);
}

Health Chain::health() const {
  if (!is_streaming_) return commit_->health();
  return {.numbers = {{.name = "streamed_bytes", .value = streamed_to_}}};
}

}  // namespace sluice::qcow2
