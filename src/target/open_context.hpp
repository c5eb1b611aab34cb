// OpenContext: the parameters for opening the targets of a stack; also collects the files they use.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "core/file.hpp"
#include "ring/file_slot.hpp"
#include "target/file/file_slices.hpp"
#include "target/life/control_reactor.hpp"
#include "target/life/stack_life.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"
#include "target/target.hpp"

namespace sluice {

namespace thin {
class Pool;
}

class OpenContext {
 public:
  explicit OpenContext(bool read_only, bool force = false) : read_only_(read_only), force_(force) {}
  // The files are already open: those of `inherited`. Paths are not resolved.
  OpenContext(bool read_only, InheritedFiles inherited)
      : read_only_(read_only), inherits_(true), inherited_(std::move(inherited)) {}

  // The whole device is read-only, whatever the target's own option.
  bool read_only() const { return read_only_; }

  void set_read_only(bool read_only) { read_only_ = read_only; }

  // The device goes on when this process is killed, with the next server: whatever was acknowledged
  // must be in files by then, whether flushed or not.
  bool outlives_server() const { return outlives_server_; }
  void set_outlives_server(bool yes) { outlives_server_ = yes; }

  // Open files even if loop devices of the kernel have them open.
  bool force() const { return force_; }

  // Files are read even while another program writes them, and not locked. Only if read_only().
  bool unlocked() const { return unlocked_ && read_only_; }
  void set_unlocked(bool unlocked) { unlocked_ = unlocked; }

  // Files are not locked, as the target that gets them has them open already, and moves its lock.
  bool locks_later() const { return locks_later_; }
  void set_locks_later(bool yes) { locks_later_ = yes; }

  // The target that is being opened is a disk whose clients address bytes: it serves the bytes
  // behind its last whole block if it can (Geometry::exact_bytes).
  bool to_the_byte() const { return clients_address_bytes_ && opens_disk_; }
  void let_clients_address_bytes(bool yes) { clients_address_bytes_ = yes; }
  // Whether the next target is a disk, not a part of one.
  void note_disk(bool is_disk) { opens_disk_ = is_disk; }

  bool inherits() const { return inherits_; }
  // The next inherited file; not valid if there is none left.
  Descriptor inherit();
  bool all_inherited() const { return next_ == inherited_.files.size(); }
  // Why the server before could not open the target at this path; null: it could.
  const Error* missed_before(std::string_view path) const;

  // What the stack has open so far; what other stacks of a command have, if they are to be as one.
  const std::shared_ptr<StackFiles>& stack_files() const { return stack_files_; }
  void set_stack_files(std::shared_ptr<StackFiles> files) { stack_files_ = std::move(files); }

  // The thin pools of the stack so far, by their names: its other volumes find them here.
  std::map<std::string, std::shared_ptr<thin::Pool>>& pools() { return pools_; }

  // Passes a descriptor to the target that is being opened (Target::own()). Returns its slot in the
  // registered files of every ring that will serve the stack.
  File add_file(int descriptor);
  // The same, for a descriptor that no request uses: of a key, or of state for the next server.
  void add_private_file(int descriptor);

  // Opens a target that the spec does not name, but a target of the spec needs: the file of an
  // image, for instance.
  Result<std::unique_ptr<Target>> open(const Spec& spec);
  // Runs `work`, which uses an open target, on the control reactor.
  Status perform(const ControlReactor::Work& work);
  // Images are opened without their backing files.
  bool without_backing() const { return without_backing_; }
  void set_without_backing(bool yes) { without_backing_ = yes; }
  // While an image's own files are opened: their format is no surprise.
  bool opens_image() const { return opens_image_; }
  void set_opens_image(bool opens) { opens_image_ = opens; }

  // The files since the last call.
  std::vector<OpenFile> take_files() { return std::exchange(files_, {}); }

  // Has a living target find out its geometry. See StackLife::look_at().
  Result<void> look_at(Target& target);
  // The number of targets that it has been called for.
  size_t looked_at() const { return looked_at_.started(); }
  // Undoes it for all but the first `kept`, before these targets are destroyed or started.
  void end_look(size_t kept = 0);

  // The types of targets that a spec may name.
  std::span<const TargetType> types() const { return types_; }
  void allow_only(std::span<const TargetType> types) { types_ = types; }

 private:
  Result<void> start_control();

  bool read_only_;
  bool force_ = false;
  bool outlives_server_ = false;
  bool clients_address_bytes_ = false;
  bool opens_disk_ = false;
  bool inherits_ = false;
  bool unlocked_ = false;
  bool locks_later_ = false;
  InheritedFiles inherited_;
  size_t next_ = 0;
  std::vector<OpenFile> files_;
  std::shared_ptr<StackFiles> stack_files_ = std::make_shared<StackFiles>();
  std::map<std::string, std::shared_ptr<thin::Pool>> pools_;
  bool opens_image_ = false;
  bool without_backing_ = false;
  std::span<const TargetType> types_ = target_types();
  StackLife looked_at_;
  std::unique_ptr<ControlReactor> control_;  // where it is needed
};

}  // namespace sluice
