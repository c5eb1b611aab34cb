// FakeDevice: the kernel's side of /dev/fuse for a CopyQueue on a ManualRing. The stack is one
// member on a real file; a test decides when each of its operations is done.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <optional>

#include "frontend/fuse/copy_queue.hpp"
#include "support/manual_ring.hpp"
#include "support/member_target.hpp"
#include "target/stack.hpp"
#include "unit/frontend/fuse/frames.hpp"

namespace sluice::test {

struct Reply {
  int error = 0;
  uint64_t unique = 0;
  Bytes body;
};

class FakeDevice : public testing::Test, private QueueListener {
 protected:
  static constexpr int kDevice = 1'000'000;
  static constexpr uint64_t kSize = 1U << 20;
  static constexpr uint32_t kMaxIo = 65536;

  void SetUp() override { start({}); }
  void TearDown() override;

  void start(const Geometry& changes, uint16_t depth = 4);
  void finished() override { finished_ = true; }

  // What the queue has asked of the device and of the stack's file.
  std::optional<size_t> find(uint8_t opcode, int descriptor) const;
  size_t count(uint8_t opcode, int descriptor) const;

  // A request arrives; the queue must be reading.
  void deliver(const Bytes& frame);
  // A read of the device fails.
  void fail_reading(int error);
  // The stack's file does everything that was asked of it.
  void perform_on_file();
  // The answer that the queue writes, if it does.
  std::optional<Reply> take_reply();
  // All of it.
  Reply ask(const Bytes& frame);

  Bytes file_bytes(uint64_t offset, size_t length) const;
  void fill_file(uint64_t offset, size_t length, int value);

  ManualRing ring_;
  int file_descriptor_ = -1;
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<fuse::OneFile> file_;
  std::unique_ptr<fuse::FileIo> io_;
  std::unique_ptr<fuse::CopyQueue> queue_;
  bool finished_ = false;
  bool link_ = false;  // the stack is one that lets answers be linked
};

}  // namespace sluice::test
