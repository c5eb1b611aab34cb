// The columns without Sluice: splice(2), OP_SPLICE, and the upper limit, a bare WRITE_FIXED.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <cstring>
#include <vector>

#include "bench/bare_ring.hpp"
#include "core/descriptor.hpp"
#include "core/pipe.hpp"

namespace sluice::bench {
namespace {

// The files of the splicing columns: a file of one page in the page cache, since /dev/null has no
// splice_read; a pipe for each operation of the batch; the sink.
struct Pipework {
  Descriptor file;
  Descriptor null;
  std::vector<Pipe> pipes;

  Result<void> open(uint32_t depth);
};

Result<void> Pipework::open(uint32_t depth) {
  file = Descriptor(memfd_create("sluice-bench", MFD_CLOEXEC));
  null = Descriptor(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const std::vector<char> page(kIoBytes);
  bool good = null.valid() && write(file.number(), page.data(), kIoBytes) == kIoBytes;
  pipes.resize(depth);
  for (Pipe& pipe : pipes) {
    int ends[2] = {-1, -1};
    good = good && pipe2(ends, O_CLOEXEC) == 0;
    pipe.read_end = Descriptor(ends[0]);
    pipe.write_end = Descriptor(ends[1]);
  }
  if (good) return {};
  return fail(errno,
              fmt::format("cannot make a file and {} pipes: {}", depth, std::strerror(errno)));
}

class SpliceTwice final : public Column {
 public:
  static Result<std::unique_ptr<Column>> make(Pages, uint32_t depth) {
    auto column = std::make_unique<SpliceTwice>();
    if (auto opened = column->work_.open(depth); !opened) return std::unexpected(opened.error());
    return column;
  }

  bool run_batch() override {
    bool good = true;
    for (const Pipe& pipe : work_.pipes) {
      off_t begin = 0;
      good &= splice(work_.file.number(), &begin, pipe.write_end.number(), nullptr, kIoBytes, 0) ==
              kIoBytes;
    }
    for (const Pipe& pipe : work_.pipes) {
      good &= splice(pipe.read_end.number(), nullptr, work_.null.number(), nullptr, kIoBytes, 0) ==
              kIoBytes;
    }
    counts_.other_calls += 2 * work_.pipes.size();
    return good;
  }
  Counts counts() const override { return counts_; }

 private:
  Pipework work_;
  Counts counts_;
};

// Two batches of SQEs and two waits. All files are registered, as in splice-bench.c.
class OpSplice final : public Column {
 public:
  static Result<std::unique_ptr<Column>> make(Pages, uint32_t depth) {
    auto column = std::make_unique<OpSplice>();
    if (auto opened = column->open(depth); !opened) return std::unexpected(opened.error());
    return column;
  }

  bool run_batch() override {
    const auto pipes = static_cast<int>(work_.pipes.size());
    for (int i = 0; i < pipes; ++i) add(kFile, 0, write_end(i));
    const bool taken = ring_.finish();
    for (int i = 0; i < pipes; ++i) add(read_end(i), -1, kNull);
    return ring_.finish() && taken;
  }
  Counts counts() const override { return ring_.counts(); }

 private:
  static constexpr int kFile = 0;
  static constexpr int kNull = 1;
  static int read_end(int pipe) { return 2 + 2 * pipe; }
  static int write_end(int pipe) { return 3 + 2 * pipe; }

  Result<void> open(uint32_t depth) {
    if (auto opened = work_.open(depth); !opened) return opened;
    std::vector<int> files{work_.file.number(), work_.null.number()};
    for (const Pipe& pipe : work_.pipes) {
      files.insert(files.end(), {pipe.read_end.number(), pipe.write_end.number()});
    }
    return ring_.open(depth, files);
  }

  void add(int from, int64_t offset, int to) {
    io_uring_sqe* const sqe = ring_.next();
    io_uring_prep_splice(sqe, from, offset, to, -1, kIoBytes, SPLICE_F_FD_IN_FIXED);
    sqe->flags |= IOSQE_FIXED_FILE;
  }

  Pipework work_;
  BareRing ring_;
};

class BareWrite final : public Column {
 public:
  explicit BareWrite(uint32_t depth) : depth_(depth), memory_(size_t{depth} * kIoBytes) {}
  static Result<std::unique_ptr<Column>> make(Pages, uint32_t depth) {
    auto column = std::make_unique<BareWrite>(depth);
    if (auto opened = column->open(); !opened) return std::unexpected(opened.error());
    return column;
  }

  bool run_batch() override {
    for (uint32_t i = 0; i < depth_; ++i) {
      io_uring_sqe* const sqe = ring_.next();
      io_uring_prep_write_fixed(sqe, 0, memory_.bytes().data() + size_t{i} * kIoBytes, kIoBytes, 0,
                                0);
      sqe->flags |= IOSQE_FIXED_FILE;
    }
    return ring_.finish();
  }
  Counts counts() const override { return ring_.counts(); }

 private:
  Result<void> open() {
    null_ = Descriptor(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const int file = null_.number();
    if (auto opened = ring_.open(depth_, {&file, 1}); !opened) return opened;
    return ring_.register_memory(memory_.bytes());
  }

  const uint32_t depth_;
  Buffer memory_;
  Descriptor null_;
  BareRing ring_;
};

}  // namespace

constinit const ColumnType kSpliceTwice = {
    .name = "splice", .title = "splice2()", .make = SpliceTwice::make};
constinit const ColumnType kOpSplice = {
    .name = "op_splice", .title = "OP_SPLICE", .make = OpSplice::make};
constinit const ColumnType kBareWrite = {
    .name = "write_fixed", .title = "WRITE_FIXED", .make = BareWrite::make};

}  // namespace sluice::bench
