// Serves any bytes as a request read from /dev/fuse: it is dropped, or answered with an errno or an
// answer that fits the buffer, even if a structure is truncated or inconsistent. READ and WRITE are
// served by a stack without I/O.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "frontend/fuse/file_io.hpp"

namespace {

using namespace sluice;

constexpr uint32_t kMaxIo = 16384;
constexpr uint64_t kSize = 1U << 20;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuse_fuzz: %s\n", what);
  std::abort();
}

// A ring that submits nothing.
class IdleRing final : public Ring {
 private:
  io_uring_sqe* next_sqe() override { return nullptr; }
  void put_file(File, int) override {}
  uint32_t free_sqes() const override { return 0; }
  void enter(bool) override {}
  uint32_t reap(std::span<Cqe>) override { return 0; }
  void wake() override {}
};

// Checks the range of each request, discards writes, and reads as zeroes.
class Ideal final : public Target {
 public:
  Ideal() {
    geometry_.size_bytes = kSize;
    geometry_.can_discard = geometry_.can_write_zeroes = geometry_.can_fua = true;
  }

 private:
  Task do_submit(Request& request) override {
    require(request.length <= kSize && request.offset <= kSize - request.length, "out of range");
    require((request.offset | request.length) % 512 == 0, "not whole blocks");
    if (request.op != Op::read) return kOk;
    return zero(request);
  }
  Task zero(Request& request) {
    auto zeroing = request.ring->zero(request.data);
    co_return co_await zeroing;
  }
};

class Served {
 public:
  explicit Served(bool in_directory)
      : stack_(std::make_unique<Ideal>()),
        file_({.in_directory = in_directory, .size_bytes = kSize}),
        io_(stack_, file_, kMaxIo) {
    if (!memory_.reserve(1, kMaxIo)) std::abort();
    tag_.set_up(ring_, 0, 0);
    tag_.use(memory_, 0);
  }

  void serve(const uint8_t* data, size_t size) {
    constexpr size_t kHead = sizeof(fuse_in_header) + sizeof(fuse_write_in);
    size = std::min(size, kHead + kMaxIo);
    if (size == 0) return;
    std::byte* const frame = tag_.data - kHead;
    std::memcpy(frame, data, size);
    const auto call = fuse::parse_call({frame, size});
    if (!call) return;
    tag_.call = *call;
    Task serving = io_.serve(tag_.request, tag_);
    ring_.run_once(false);
    require(serving.finished(), "a request does not end");
    const int error = serving.status().ok() ? tag_.answer.error : serving.status().error();
    require(error >= 0 && error < 4096, "an answer has no errno");
    require(tag_.answer.length <= kMaxIo, "an answer is longer than its buffer");
    if (!serving.status().ok()) tag_.answer = {.error = error};
    done_ = true;
  }
  void conclude() {
    if (done_) io_.conclude(tag_, counters_);
    done_ = false;
  }

 private:
  IdleRing ring_;
  Stack stack_;
  fuse::OneFile file_;
  fuse::FileIo io_;
  fuse::TagMemory memory_;
  fuse::Tag tag_;
  QueueCounters counters_;
  bool done_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Served alone(false);
  static Served in_directory(true);
  if (size == 0) return 0;
  // The first byte can make the length field right, as mutations seldom do.
  std::vector<uint8_t> frame(data + 1, data + size);
  if ((data[0] & 1) != 0 && frame.size() >= sizeof(uint32_t)) {
    const auto length = static_cast<uint32_t>(frame.size());
    std::memcpy(frame.data(), &length, sizeof(length));
  }
  Served& served = (data[0] & 2) != 0 ? in_directory : alone;
  served.serve(frame.data(), frame.size());
  served.conclude();
  return 0;
}
