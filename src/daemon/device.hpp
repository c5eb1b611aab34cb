// Device: a front end that serves a stack, and its record.
//
// Used by the control thread of the server, which alone changes it. The functions under "Any
// thread" may be called by any thread at any time.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "daemon/serve_options.hpp"
#include "daemon/state.hpp"
#include "frontend/keeper/keeper.hpp"
#include "spec/spec.hpp"
#include "target/stack.hpp"

namespace sluice {

// A server's description of its device, for the server that will take it over.
struct DeviceOffer {
  DeviceRecord record;
  std::optional<std::string> frontend_state;  // nullopt: it comes only with the device
  std::vector<Descriptor> files;              // of the stack
  std::vector<MissingNode> missing{};
};

// The result of let_go(), for the next server.
struct DeviceHandover {
  Handover frontend;
  bool stack_failed = false;           // see Stack
  std::vector<size_t> failed_disks{};  // of several; empty: all, if the stack has failed
  bool files_unlocked = false;         // the old server has released their locks
};

class Device {
 public:
  // Opens the stack, claims an id and makes the front end; nothing is served yet.
  static Result<std::unique_ptr<Device>> add(const ServeOptions& options);
  // Recovers the device of a dead server, which has written `record`.
  static Result<std::unique_ptr<Device>> recover(const DeviceRecord& record);
  // Takes over the device that a living server offers. That server goes on serving until take().
  static Result<std::unique_ptr<Device>> take_over(DeviceOffer offer);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  // Removes the record of a device that was added but never served.
  ~Device();

  // Starts the keeper, in the caller's mount namespace.
  Result<void> hire_keeper();
  // For a server that gives up its rights: its device needs no keeper, which would keep them.
  void dismiss_keeper() { keeper_.reset(); }
  // Replaces a dead keeper, and restores what ended with it. Error: the device is lost.
  Result<void> mind_keeper();
  // See Frontend::prepare(). The listener outlives the device.
  Result<void> prepare(FrontendListener& listener);
  // When this returns, the device can be opened and its record can be read.
  Result<void> serve();
  // True once serve() has gone far enough that the device must be stopped and removed.
  bool is_served() const { return served_; }
  bool has_ended() const { return frontend_->has_ended(); }
  // After has_ended(): true if the cause was the death of the keeper, and the device is served
  // again.
  bool revive();
  // See Frontend::stop().
  Result<void> stop(bool even_if_used);
  // After has_ended(): logs the totals, and removes the device and its record.
  void remove();
  // Writes the record again if the health of the stack has changed.
  void note_health();
  // Returns the new size. Without `size_bytes`: the current size of the backing.
  Result<uint64_t> resize(std::optional<uint64_t> size_bytes);
  // See Stack::control(). `verb`: its JSON. EINVAL: the target has no such verb, or other
  // arguments.
  Result<JsonValue> control(std::string_view path, std::string_view verb,
                            std::vector<Descriptor> files);

  // --- Handover to another server, see Frontend.
  Result<void> check_handover() const;
  DeviceOffer offer() const;  // without the files
  std::vector<int> files() const { return stack_->files(); }
  Result<void> pause() { return frontend_->pause(); }
  bool has_paused() const { return frontend_->has_paused(); }
  Result<DeviceHandover> let_go();
  Result<void> resume();
  // Best effort: only observers read the record.
  void rewrite_record() const;
  // The other server has the device: this server must not touch it any more.
  void leave();

  // --- In the other server.
  Result<void> take(DeviceHandover handover);
  // The old server has ended, or is about to.
  void settle();

  // --- Any thread.
  DeviceRecord record() const;
  std::vector<QueueReport> reports() const { return frontend_->reports(); }
  Result<std::vector<InFlight>> in_flight() const { return frontend_->in_flight(); }
  StackHealth health() const { return stack_->health(); }
  std::vector<Jobs::Report> jobs() const { return stack_->life().jobs().reports(); }
  std::vector<StackNode> nodes() const { return stack_->nodes(); }
  const Target& root() const { return stack_->root(); }
  uint32_t id() const { return id_; }

 private:
  Device(std::unique_ptr<Stack> stack, DeviceRecord record);
  Result<void> make_frontend(const FrontendOptions& options);
  Result<void> claim_id(uint32_t wanted, bool named);
  Result<void> adopt(const std::string& frontend_state);
  Result<void> wait_until_openable() const;
  Result<void> record_spec(const Spec& spec);
  void note_server();
  void note_process();
  void forget();
  void log_totals() const;

  FrontendListener* listener_ = nullptr;
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<Keeper> keeper_;
  std::unique_ptr<Frontend> frontend_;
  mutable std::mutex mutex_;
  DeviceRecord record_;  // guarded by mutex_, except on the control thread
  uint32_t id_ = kAnyId;
  std::optional<RecordDraft> draft_;
  bool claimed_ = false;  // the record is ours to remove
  bool served_ = false;
};

}  // namespace sluice
