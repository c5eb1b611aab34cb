// Producer: what puts a direct splice's bytes into its pipe, chunk by chunk: the buffer of a
// request (BufferProducer), or a file (FileProducer). Made for one call; used by its ring's thread.
#pragma once

#include "core/request.hpp"
#include "core/task.hpp"
#include "lend/direct_pipe.hpp"
#include "lend/provider.hpp"
#include "lend/splice_file.hpp"

namespace sluice::lend {

class Producer {
 public:
  // Before anything is produced: whether `length` bytes can be, for this use.
  virtual Status prepare(uint64_t length, Direction use) = 0;
  // Puts the next bytes into the pipe, at most `length`, and confirms what for, if it may be
  // pipe.use(). None are the end. EINVAL: something was confirmed already: a producer is never the
  // consumer (S28).
  virtual Task produce(Request& request, DirectPipe& pipe, uint32_t length) = 0;

 protected:
  Producer() = default;
  Producer(const Producer&) = default;
  Producer& operator=(const Producer&) = default;
  ~Producer() = default;
};

// A request's buffer from a position on. The errors are those of Provider::lend(): nothing of a
// range is lent that is not lent as a whole. Each byte may be lent any number of times; the series
// of 2022 had a quota (S36).
class BufferProducer final : public Producer {
 public:
  BufferProducer(Provider& device, Position at) : device_(device), at_(at) {}

  Status prepare(uint64_t length, Direction use) override;
  Task produce(Request& request, DirectPipe& pipe, uint32_t length) override;

 private:
  Provider& device_;
  Position at_;
};

// A file from an offset on, by the kernel's splice. Its pages are the page cache's: they may be
// read from, and are confirmed for nothing else.
class FileProducer final : public Producer {
 public:
  // `flags`: SPLICE_F_*, for taking pages out of the file only (S21).
  FileProducer(const SpliceFile& file, uint64_t offset, uint32_t flags = 0)
      : file_(file), offset_(offset), flags_(flags) {}

  // EINVAL: a flag that splice(2) does not know (S15); EBADF, EINVAL: as SpliceFile::as_source().
  Status prepare(uint64_t length, Direction use) override;
  Task produce(Request& request, DirectPipe& pipe, uint32_t length) override;

 private:
  const SpliceFile file_;
  uint64_t offset_;
  const uint32_t flags_;
};

}  // namespace sluice::lend
