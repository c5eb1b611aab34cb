// ManualRing: a Ring without a kernel. A test sees every SQE that would be submitted and completes
// them in any order, with any result: an invented one, or that of the actual I/O.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "ring/ring.hpp"

namespace sluice::test {

// Any file, where a test completes the operations on it by hand.
inline constexpr File kManualFile{.number = 5};

class ManualRing final : public Ring {
 public:
  explicit ManualRing(uint32_t sq_entries = 64, uint32_t cq_entries = 256, uint32_t slots = 64);
  ~ManualRing() override;

  // Set slot `slot` of the buffer table, and registered file `slot`.
  void set_buffer(int slot, std::span<std::byte> memory) { buffers_[slot] = memory; }
  void set_file(int slot, int descriptor) {
    file_of_slot_[slot] = descriptor;
    files_.set(static_cast<size_t>(slot), descriptor);
  }
  void put_file(File slot, int descriptor) override { set_file(slot.number, descriptor); }
  void change_abilities(const Abilities& abilities) { set_abilities(abilities); }

  // Submits and resumes until nothing moves without a completion.
  void settle();

  // The SQEs that were submitted and not completed, oldest first. A linked SQE appears once its
  // leader has moved all bytes, as in the kernel.
  size_t pending() const { return pending_.size(); }
  const io_uring_sqe& sqe(size_t index) const { return pending_.at(index); }

  // Completes pending SQE `index`, then settles. With IORING_CQE_F_MORE it stays pending.
  void complete(size_t index, int32_t result, uint32_t flags = 0);
  // The same without settling: the ring sees it together with the next one.
  void finish(size_t index, int32_t result, uint32_t flags = 0);
  // Does the I/O of pending SQE `index` on its real file, at most `most` bytes, and completes it
  // with the result. A cancellation completes the cancelled SQE, then itself.
  void perform(size_t index, uint32_t most = UINT32_MAX);
  // Performs everything, oldest first, until nothing is pending.
  void perform_all();

 private:
  io_uring_sqe* next_sqe() override;
  uint32_t free_sqes() const override;
  void enter(bool wait) override;
  uint32_t reap(std::span<Cqe> batch) override;
  void wake() override {}

  int32_t cancel_pending(uint64_t user_data);
  int32_t execute(const io_uring_sqe& sqe, uint32_t most);
  ssize_t execute_splice(const io_uring_sqe& sqe, int to, uint32_t most) const;
  std::vector<iovec> memory_of(const io_uring_sqe& sqe, uint32_t most) const;

  uint32_t sq_entries_;
  std::vector<io_uring_sqe> queue_;  // returned by next_sqe(); never reallocates
  std::vector<io_uring_sqe> pending_;
  std::map<uint64_t, io_uring_sqe> linked_commands_;  // by the user_data of the leader
  std::vector<Cqe> completed_;                        // oldest first
  std::map<int, std::span<std::byte>> buffers_;
  std::map<int, int> file_of_slot_;
  int zero_file_;
};

}  // namespace sluice::test
