// FakeDevice: the kernel's side of /dev/fuse for a CopyQueue on a ManualRing. The stack is one
// member on a real file; a test decides when each of its operations completes.
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

  void start(const Geometry& changes, uint16_t depth = 4,
             std::optional<uint32_t> reserve_bytes = std::nullopt);
  void finished() override { finished_ = true; }

  // Finds, or counts, the queue's pending operations on the device or on the stack's file.
  std::optional<size_t> find(uint8_t opcode, int descriptor) const;
  size_t count(uint8_t opcode, int descriptor) const;

  // Delivers a request; the queue must be reading.
  void deliver(const Bytes& frame);
  // Makes a read of the device fail.
  void fail_reading(int error);
  // Completes all operations on the stack's file.
  void perform_on_file();
  // Completes the write of an answer, if one is pending, and returns the answer.
  std::optional<Reply> take_reply();
  // Delivers a request, completes its operations, and returns the answer.
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
  bool link_ = false;  // the stack allows linked answers
};

}  // namespace sluice::test
