// Producer: puts the bytes of a direct splice into its pipe, chunk by chunk: from the buffer of a
// request (BufferProducer), or from a file (FileProducer). Made for one call; used by its ring's
// thread.
#pragma once

#include "core/request.hpp"
#include "core/task.hpp"
#include "lend/direct_pipe.hpp"
#include "lend/provider.hpp"
#include "lend/splice_file.hpp"

namespace sluice::lend {

class Producer {
 public:
  // Checks, before anything is produced, that `length` bytes can be produced for this use.
  virtual Status prepare(uint64_t length, Direction use) = 0;
  // Puts the next bytes into the pipe, at most `length`, and confirms their use if pipe.use() is
  // allowed. If it adds no bytes, it has reached its end. EINVAL: a use was already confirmed: a
  // producer is never the consumer (S28).
  virtual Task produce(Request& request, DirectPipe& pipe, uint32_t length) = 0;

 protected:
  Producer() = default;
  Producer(const Producer&) = default;
  Producer& operator=(const Producer&) = default;
  ~Producer() = default;
};

// A request's buffer from a position on. The errors are those of Provider::lend(): a range is lent
// as a whole or not at all. Each byte may be lent any number of times; the series of 2022 had a
// quota (S36).
class BufferProducer final : public Producer {
 public:
  BufferProducer(Provider& device, Position at) : device_(device), at_(at) {}

  Status prepare(uint64_t length, Direction use) override;
  Task produce(Request& request, DirectPipe& pipe, uint32_t length) override;

 private:
  Provider& device_;
  Position at_;
};

// A file from an offset on, by the kernel's splice. Its pages belong to the page cache: they are
// confirmed for reading only.
class FileProducer final : public Producer {
 public:
  // `flags`: SPLICE_F_*, for the splice out of the file only (S21).
  FileProducer(const SpliceFile& file, uint64_t offset, uint32_t flags = 0)
      : file_(file), offset_(offset), flags_(flags) {}

  // EINVAL: a flag unknown to splice(2) (S15); EBADF, EINVAL: see SpliceFile::as_source().
  Status prepare(uint64_t length, Direction use) override;
  Task produce(Request& request, DirectPipe& pipe, uint32_t length) override;

 private:
  const SpliceFile file_;
  uint64_t offset_;
  const uint32_t flags_;
};

}  // namespace sluice::lend
