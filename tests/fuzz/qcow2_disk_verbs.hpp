// Verbs: the verbs that qcow2_disk_fuzz gives to its target, one at a time, while requests are in
// flight. Some start jobs, which run on the same ring.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "qcow2_disk_chain.hpp"
#include "target/control_call.hpp"
#include "target/life/control_reactor.hpp"
#include "target/life/jobs.hpp"
#include "target/life/life_call.hpp"
#include "target/qcow2/chain.hpp"

namespace sluice::fuzz {

class Verbs {
 public:
  Verbs(Ring& ring, ControlReactor& control, MemoryChain& files) : ring_(ring), files_(files) {
    require(jobs_.begin(control).ok(), "jobs do not begin");
  }

  Jobs& jobs() { return jobs_; }
  const Task* running() const { return running_ == nullptr ? nullptr : &*running_->task; }
  bool has_jobs() const { return !jobs_.all().empty(); }

  // For bitmap "a" or "b".
  void change_bitmap(Target& target, uint8_t length, uint8_t choice) {
    constexpr std::array kVerbs = {"bitmap-add",    "bitmap-remove",  "bitmap-clear",
                                   "bitmap-enable", "bitmap-disable", "bitmap-merge"};
    auto begun = verb(kVerbs[length % kVerbs.size()]);
    Spec& spec = begun->call.verb;
    spec.set("name", std::string(choice % 2 == 0 ? "a" : "b"));
    spec.set("granularity", uint64_t{512} << choice / 2 % 12);
    spec.set("source", std::string(choice % 2 == 0 ? "b" : "a"));
    start(std::move(begun), target);
  }

  // Of snapshot "1", "2" or "3".
  void change_snapshot(Target& target, uint8_t length, uint8_t choice) {
    constexpr std::array kVerbs = {"snapshot-create", "snapshot-delete", "snapshot-apply",
                                   "snapshot-list"};
    auto begun = verb(kVerbs[length % kVerbs.size()]);
    begun->call.verb.set("name", std::to_string(1 + choice % 3));
    start(std::move(begun), target);
  }

  void change_chain(qcow2::Chain& chain, uint8_t length, uint8_t choice) {
    constexpr std::array<std::pair<const char*, const char*>, 6> kVerbs = {
        {{"stream", ""},
         {"stream", "cancel"},
         {"commit", ""},
         {"commit", "pivot"},
         {"commit", "cancel"},
         {"external-snapshot", ""}}};
    const auto& [name, flag] = kVerbs[length % kVerbs.size()];
    const bool goes_up = name == std::string_view("external-snapshot");
    // Then this is a copy without its backing file.
    const qcow2::Qcow2Target& active = chain.active();
    if (!goes_up && active.backing() == nullptr && !active.header().backing_name.empty()) return;
    auto begun = verb(name);
    if (*flag != '\0') begun->call.verb.set(flag, true);
    const uint64_t size = chain.geometry().size_bytes;
    if (goes_up && !files_.bring_overlay(begun->call, size, choice)) return;
    if (name == std::string_view("commit") && *flag == '\0') files_.bring_backing(begun->call);
    start(std::move(begun), chain);
  }

  // True when one has ended.
  bool collect() {
    if (running_ == nullptr || !running_->task->finished()) return false;
    const ControlCall& call = running_->call;
    require(running_->task->status().ok() || !call.why.empty(), "a verb fails without a reason");
    running_.reset();
    for (Job* const job : jobs_.all()) job->set_share(1);
    return true;
  }

 private:
  struct Running {
    explicit Running(Ring& ring) : life(ring) {}
    LifeRequest life;
    ControlCall call;
    std::optional<Task> task;
  };

  std::unique_ptr<Running> verb(std::string name) {
    auto begun = std::make_unique<Running>(ring_);
    begun->call.verb.target = std::move(name);
    begun->call.publish = [this](const Spec& own) {
      files_.go_on_in(own.text("file"));
      return kOk;
    };
    return begun;
  }
  void start(std::unique_ptr<Running> begun, Target& target) {
    running_ = std::move(begun);
    running_->task.emplace(target.control(running_->life.request, running_->call));
  }

  Ring& ring_;
  MemoryChain& files_;
  Jobs jobs_;
  std::unique_ptr<Running> running_;
};

}  // namespace sluice::fuzz
