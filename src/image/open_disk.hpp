// OpenDisk: the disk that a spec describes, opened by a command in its own process: without a
// device, and without a server.
//
// The blocking calls may be made on any thread of the command; submit() does not block. Offsets are
// multiples of block_bytes(), lengths as well, except up to size_bytes(), which may lie in a block.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/extents.hpp"
#include "frontend/direct/device.hpp"
#include "spec/spec.hpp"
#include "target/stack.hpp"

namespace sluice {
class StackFiles;
}

namespace sluice::image {

class OpenDisk {
 public:
  struct Options {
    std::string name = {};  // for messages; by default the spec
    bool writable = false;
    bool unlocked = false;  // read it whatever another program is writing to its files meanwhile
    // What an image itself has: where it has nothing, there are zeroes.
    bool without_backing = false;
    // Another disk of the same command, which may be a slice of the same file (FileSlices).
    const OpenDisk* beside = nullptr;
    uint16_t queues = 1;  // each with a thread
    uint16_t depth = 16;  // I/O in flight of a queue; more waits
  };

  // Opens and starts all targets. The Error names the spec. EROFS: `writable`, and it is not.
  static Result<std::unique_ptr<OpenDisk>> open(const Spec& spec, const Options& options);
  OpenDisk(const OpenDisk&) = delete;
  OpenDisk& operator=(const OpenDisk&) = delete;
  // Waits for all I/O, and stops the targets.
  ~OpenDisk();

  // All bytes of the disk, also those behind its last whole block.
  uint64_t size_bytes() const { return stack_->geometry().data_bytes(); }
  uint32_t block_bytes() const { return stack_->geometry().logical_block_bytes; }
  const Geometry& geometry() const { return stack_->geometry(); }
  Stack& stack() { return *stack_; }
  // For messages: the path of a file, or the spec.
  const std::string& name() const { return name_; }

  Status read(uint64_t offset, std::span<std::byte> memory) {
    return device_->read(offset, memory);
  }
  Status write(uint64_t offset, std::span<const std::byte> memory) {
    return device_->write(offset, memory);
  }
  Status write_zeroes(uint64_t offset, uint64_t length, bool fast_only = false) {
    return device_->write_zeroes(offset, length, fast_only);
  }
  Status discard(uint64_t offset, uint64_t length) { return device_->discard(offset, length); }
  // Everything that was written is durable afterwards.
  Status flush() { return device_->flush(); }

  // Many at once: see direct::Device::submit().
  void submit(uint16_t queue, direct::Io& io) { device_->submit(queue, io); }

  // What is data or hole from `offset` on, at most up to `length` bytes: at least the beginning of
  // that range, so that the caller asks again from the end of the last extent.
  Result<std::vector<Extent>> extents(uint64_t offset, uint64_t length,
                                      Detail detail = Detail::layers);

  // The Error of an I/O that has ended with `status`: "cannot read 'a.img' at offset 0: ...".
  Error explain(std::string_view what, uint64_t offset, Status status) const;

 private:
  OpenDisk(std::string name, std::unique_ptr<Stack> stack)
      : name_(std::move(name)), stack_(std::move(stack)) {}

  const std::string name_;
  std::unique_ptr<Stack> stack_;
  std::shared_ptr<StackFiles> stack_files_;
  std::unique_ptr<direct::Device> device_;  // ends before the stack
};

}  // namespace sluice::image
