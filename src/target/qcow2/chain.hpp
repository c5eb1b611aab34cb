// Chain: a qcow2 image that is written, whose place in its chain of backing files changes while it
// is served.
//
// Its only child is the active image, which has the others below it. `external-snapshot` puts a new
// image above that one; `stream` copies into it what comes from its backing file, and then does
// without that, through a new server if need be; `commit` moves what it has to its backing file,
// which may then take its place. During the moment of a change no request is at the active image.
// In a handover or a recovery the chain is opened as the images then name it, from the spec that
// was published with the change.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "ring/range_lock.hpp"
#include "spec/spec.hpp"
#include "target/life/jobs.hpp"
#include "target/life/stack_life.hpp"
#include "target/qcow2/attached_rings.hpp"
#include "target/qcow2/qcow2_target.hpp"
#include "target/status_contexts.hpp"
#include "target/target.hpp"

namespace sluice::qcow2 {

inline constexpr uint64_t kCacheBytes = 32 << 20;  // of an image, unless the spec says otherwise

class Chain final : public Target, public StatusContexts {
 public:
  // `path`: of the active image, which `spec` opens.
  Chain(Spec spec, std::string path, std::unique_ptr<Qcow2Target> active);
  ~Chain() override;

  bool is_living() const override { return true; }
  bool starts_children() const override { return true; }
  Task start(Request& request, LifeCall& call) override;
  Task attach(Request& request, LifeCall& call) override;
  Task detach(Request& request, LifeCall& call) override;
  Task stop(Request& request, LifeCall& call) override;
  Task control(Request& request, ControlCall& call) override;
  Health health() const override;
  StatusContexts* status_contexts() override { return this; }
  // Of the active image. Any thread.
  std::vector<std::string> contexts() const override;
  Task context_status(Request& request, const std::string& context, StatusRuns& found) override;
  // Those of the active image: the spec does not know of this level.
  std::vector<Target*> named_children() const override { return child(0).named_children(); }
  Qcow2Target& active() const { return static_cast<Qcow2Target&>(child(0)); }

 private:
  class Stream;
  class Commit;

  Task do_submit(Request& request) override;
  Task do_extents(Request& request, Extents& found) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;

  // --- chain_snapshot.cpp
  Task take_snapshot(Request& request, ControlCall& call);
  Status check_snapshot(ControlCall& call) const;
  Status check_names(ControlCall& call) const;
  Task read_overlay(Request& request, ControlCall& call, Header& header);
  Task read_header(Request& request, ControlCall& call, Header& header);
  Status check_overlay(const Header& header, ControlCall& call) const;
  bool takes(const Target& storage) const;
  Task switch_to(Request& request, ControlCall& call, const Header& header, const Spec& next);
  void put_above(std::unique_ptr<Target> storage, const Header& header, const std::string& path);
  void remove_top();
  Image::Options options_for(const std::string& path) const;
  void go_on_in(const Spec& own);

  // --- chain_stream.cpp
  Task control_stream(Request& request, ControlCall& call);
  Task cancel_stream(Request& request, ControlCall& call);
  Status note_streaming(ControlCall& call, bool streams);
  void start_stream(Ring& ring);
  void go_on_streaming(Ring& ring);
  Spec spec_in(const std::string& path) const;
  Task stream_step(Request& request);
  Task copy_some(Request& request);
  Task end_stream(Request& request);
  Task close_left(Request& request, std::unique_ptr<Target> left);

  Spec spec_;         // this and the next: control reactor only
  std::string path_;  // of the active image
  RangeLock gate_;    // each request is in it; a change holds it exclusively
  StackLife life_;    // of the active image and all below it
  AttachedRings rings_;
  bool is_serving_ = false;  // this and all up to stream_: control reactor only
  Jobs* jobs_ = nullptr;     // of the last start(), as the next two
  ControlReactor* reactor_ = nullptr;
  Ring* control_ = nullptr;
  bool has_streamed_ = false;  // the job is in the list of jobs_
  const std::unique_ptr<Stream> stream_;
  std::atomic<bool> is_streaming_ = false;
  std::atomic<uint64_t> streamed_to_ = 0;  // on the disk: everything before is in the image
  const std::unique_ptr<Commit> commit_;
};

}  // namespace sluice::qcow2
