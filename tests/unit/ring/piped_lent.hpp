// PipedLent: a piped loan together with its lender, which manages the pipes like a front end.
#pragma once

#include <gtest/gtest.h>

#include <atomic>

#include "core/loan.hpp"
#include "ring/ring.hpp"
#include "unit/ring/bytes.hpp"

namespace sluice::test {

class PipedLent final : private Lender {
 public:
  // A source that holds `content`; the pages begin `page_offset` bytes into the first one.
  PipedLent(Ring& ring, const Bytes& content, uint32_t page_offset = 0) : PipedLent(ring) {
    fill_pipe(content, page_offset);
    open(loan.lend_piped(*this, Direction::source, static_cast<uint32_t>(content.size()), &pipe_));
  }
  // A source that is these pages themselves.
  PipedLent(Ring& ring, std::span<std::byte> pages) : PipedLent(ring) {
    const iovec vector{pages.data(), pages.size()};
    EXPECT_EQ(vmsplice(pipe_.write_end.number(), &vector, 1, 0),
              static_cast<ssize_t>(pages.size()));
    open(loan.lend_piped(*this, Direction::source, static_cast<uint32_t>(pages.size()), &pipe_));
  }
  // A destination.
  PipedLent(Ring& ring, uint32_t length) : PipedLent(ring) {
    open(loan.lend_piped(*this, Direction::destination, length));
  }
  ~PipedLent() {
    close();
    if (loan.fills().pipes() != nullptr) ring_.pipes().discard(loan);
  }

  // Once is enough.
  void close() {
    if (open_) loan.close();
    open_ = false;
  }
  int returned_count() const { return returned_count_.load(); }

  // The reply to the client. `status` is the request's result. A front end collects when the loan
  // is back; here a Started may still have its view.
  Bytes collected(Status* status = nullptr) {
    close();
    const Status collected = ring_.pipes().collect(loan, pipe_);
    if (status != nullptr) *status = collected;
    Bytes bytes(size_t{4} << 20);
    size_t count = 0;
    ssize_t got = 0;
    while ((got = read(pipe_.read_end.number(), bytes.data() + count, bytes.size() - count)) > 0) {
      count += static_cast<size_t>(got);
    }
    bytes.resize(count);
    return bytes;
  }
  // The content of a source; no operation may have removed bytes from it.
  Bytes held() {
    Bytes bytes(loan.length());
    const ssize_t count = read(pipe_.read_end.number(), bytes.data(), bytes.size());
    bytes.resize(static_cast<size_t>(std::max<ssize_t>(0, count)));
    return bytes;
  }

  Loan loan;

 private:
  static constexpr uint32_t kRequestBytes = 512 << 10;

  explicit PipedLent(Ring& ring) : ring_(ring) {
    if (!ring.pipes().is_open()) EXPECT_TRUE(ring.pipes().open(kRequestBytes));
    auto made = ring.pipes().make();
    EXPECT_TRUE(made);
    if (made) pipe_ = std::move(*made);
  }

  void open(const View&) {
    loan.open();
    open_ = true;
  }

  void fill_pipe(const Bytes& content, uint32_t page_offset) {
    const Bytes skipped(page_offset);
    const int end = pipe_.write_end.number();
    EXPECT_EQ(write(end, skipped.data(), page_offset), page_offset);
    EXPECT_EQ(write(end, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    Bytes taken(page_offset);
    EXPECT_EQ(read(pipe_.read_end.number(), taken.data(), page_offset), page_offset);
  }

  void returned(Loan&) noexcept override { ++returned_count_; }

  Ring& ring_;
  Pipe pipe_;
  bool open_ = false;
  std::atomic<int> returned_count_ = 0;
};

}  // namespace sluice::test
