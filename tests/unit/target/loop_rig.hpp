// Helpers for the tests of loop, mem and the registry: a stack on a kernel ring with blocking
// calls, temporary files, captured log lines, and commands that need root.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <sstream>
#include <string>

#include "core/buffer.hpp"
#include "core/descriptor.hpp"
#include "ring/kernel_ring.hpp"
#include "support/test_tag.hpp"
#include "target/stack.hpp"

namespace spdlog {
class logger;
}

namespace sluice::test {

Result<std::unique_ptr<Stack>> open_stack(std::string_view text, bool read_only = false,
                                          bool to_the_byte = false);  // OpenContext
// The error of opening it; empty on success.
std::string open_error(std::string_view text, bool read_only = false);

// `bytes` of memory that direct I/O accepts, each byte `fill`.
class Block {
 public:
  explicit Block(size_t bytes, int fill = 0);
  std::span<std::byte> bytes() const { return buffer_.bytes(); }
  bool all(int value) const;

 private:
  Buffer buffer_;
};

// A kernel ring of the calling thread that serves a stack. Each call returns when its request is
// done.
class LiveQueue {
 public:
  explicit LiveQueue(Stack& stack);

  Status read(uint64_t offset, const Block& block);
  Status write(uint64_t offset, const Block& block, bool fua = false);
  Status without_data(Op op, uint64_t offset = 0, uint64_t length = 0, bool may_unmap = true);
  Status flush() { return without_data(Op::flush); }

  KernelRing& ring() { return *ring_; }
  TestTag& tag() { return *tag_; }

 private:
  Status serve(Request& request);

  Stack& stack_;
  std::unique_ptr<KernelRing> ring_;
  std::unique_ptr<TestTag> tag_;
};

// A stack and one queue of it. Throws when it cannot be opened.
class LiveStack {
 public:
  explicit LiveStack(std::string_view spec, bool read_only = false);

  Status read(uint64_t offset, const Block& block) { return queue_.read(offset, block); }
  Status write(uint64_t offset, const Block& block, bool fua = false) {
    return queue_.write(offset, block, fua);
  }
  Status without_data(Op op, uint64_t offset = 0, uint64_t length = 0, bool may_unmap = true) {
    return queue_.without_data(op, offset, length, may_unmap);
  }
  Status flush() { return queue_.flush(); }

  Stack& stack() { return *stack_; }
  const Geometry& geometry() const { return stack_->geometry(); }
  KernelRing& ring() { return queue_.ring(); }
  TestTag& tag() { return queue_.tag(); }

 private:
  std::unique_ptr<Stack> stack_;
  LiveQueue queue_;
};

// Makes a sparse file of that size.
void make_file(const std::string& path, uint64_t bytes);

// A directory that is removed with its content.
class TempDir {
 public:
  TempDir();
  explicit TempDir(const std::string& parent);
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();

  const std::string& path() const { return path_; }
  std::string path(const std::string& name) const { return path_ + "/" + name; }
  // Makes a sparse file of that size and returns its path.
  std::string file(const std::string& name, uint64_t bytes) const;

 private:
  std::string path_;
};

// Collects log lines during its lifetime.
class LogCapture {
 public:
  LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;
  ~LogCapture();

  std::string text() const { return text_.str(); }
  size_t lines() const;

 private:
  std::ostringstream text_;
  std::shared_ptr<spdlog::logger> before_;
};

struct CommandResult {
  int code = -1;
  std::string output;  // standard error too, without the last newline
};

CommandResult run_command(const std::string& command);

// Runs a command, and at the end another one that undoes it; {} is the output of the first.
class Undoable {
 public:
  Undoable(const std::string& command, std::string undo);
  Undoable(const Undoable&) = delete;
  Undoable& operator=(const Undoable&) = delete;
  ~Undoable();

  bool works() const { return result_.code == 0; }
  const std::string& output() const { return result_.output; }

 private:
  CommandResult result_;
  std::string undo_;
};

bool has_command(const std::string& name);

// The space that a file occupies on its file system.
uint64_t allocated_bytes(const std::string& path);

}  // namespace sluice::test
