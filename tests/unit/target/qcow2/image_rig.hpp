// ImageRig: a qcow2 target on an image of QEMU, in memory, with calls that wait for their requests.
//
// The disk below can fail, and is seen request by request. One thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "model/block_oracle.hpp"
#include "spec/json_value.hpp"
#include "support/manual_ring.hpp"
#include "support/test_tag.hpp"
#include "support/volatile_disk.hpp"
#include "support/work_folder.hpp"
#include "target/qcow2/qcow2_target.hpp"
#include "unit/target/qcow2/image_bytes.hpp"

namespace sluice::qcow2::test {

using sluice::test::BlockOracle;
using sluice::test::ManualRing;
using sluice::test::Power;
using sluice::test::TestTag;
using sluice::test::VolatileDisk;
using sluice::test::WorkFolder;

// Of tests with an ImageRig.
class WithQemu : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_qemu_img()) GTEST_SKIP() << kNeedsQemuImg;
  }
};

// A request, and whether it has ended.
struct Asked {
  explicit Asked(Ring& ring) : tag(ring) {}
  int error() const { return task->status().error(); }

  TestTag tag;
  std::vector<std::byte> memory;
  std::optional<Task> task;
};

class ImageRig {
 public:
  struct Setup {
    // Of qemu-img create. With data_file=data.raw the rig has this file as well.
    std::string options = {};    // with the size
    std::string commands = {};   // after that; the image is image.qcow2
    uint64_t backing_bytes = 0;  // with a backing file, all of pattern 1, in blocks of 512 bytes
    uint64_t cache_bytes = 0;    // the least
    bool can_discard = true;     // the disk below
  };

  explicit ImageRig(const Setup& setup);
  ~ImageRig();

  // Of the disk below: called at each request; an errno fails it.
  void on_request(std::function<int(const Request&)> call) { disk->fails = std::move(call); }

  // --- Each returns an errno.
  int start();
  int stop();
  int flush() { return wait(begin(Op::flush, 0, 0)); }
  // With the pattern of `number` of a BlockOracle; 0: zeroes.
  int write(uint64_t offset, uint64_t length, uint64_t number) {
    return wait(begin(Op::write, offset, length, number));
  }
  int discard(uint64_t offset, uint64_t length) { return wait(begin(Op::discard, offset, length)); }
  int write_zeroes(uint64_t offset, uint64_t length, bool may_unmap = true);
  // Clients see it after the next start().
  int grow(uint64_t size_bytes);
  // "snapshot-create" and others, see below for the outcome.
  int control(const std::string& verb, const std::string& name = {});
  // Whether a range has the pattern.
  testing::AssertionResult has(uint64_t offset, uint64_t length, uint64_t number);

  // --- Several at once.
  std::unique_ptr<Asked> begin(Op op, uint64_t offset, uint64_t length, uint64_t number = 0);
  int wait(std::unique_ptr<Asked> asked);
  // Completes everything, in random order.
  void finish(std::mt19937_64& random);

  // What qemu-img check finds in what is on the disk: 0, or its status and output.
  std::string check();

  // The contents of a snapshot, as QEMU sees it.
  std::vector<std::byte> snapshot(const std::string& name);

  std::chrono::seconds limit{1000};  // of a verb
  std::string why;
  JsonValue answer;  // of the last verb
  WorkFolder folder;
  Power power{1};
  Power backing_power{1};
  ManualRing ring;
  VolatileDisk* disk = nullptr;
  std::unique_ptr<Qcow2Target> target;
};

}  // namespace sluice::qcow2::test
