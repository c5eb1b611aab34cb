// PinWord: the readers and the writer of a slot of the metadata cache, in one atomic word.
//
// A slot has two buffers. The current one has the published contents: readers pin it, and it never
// changes while it is pinned. The other one is for the slot's one writer, which publishes by making
// it current. Readers of the formerly current buffer keep it, and the next writer waits for them.
//
// Any thread. All changes are atomic operations on the whole word, so a slot is never pinned in the
// middle of an eviction, a fill or a handover to another writer.
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>

namespace sluice {

class PinWord {
 public:
  using Word = uint64_t;
  enum class Taken : uint8_t { yes, busy, absent };

  // --- Readers. False: the slot has no contents now.
  bool try_read(uint32_t& buffer) {
    Word word = word_.load();
    do {
      if ((word & kValid) == 0) return false;
      buffer = current_of(word);
      assert(readers_of(word, buffer) != kReadersMax);
    } while (!word_.compare_exchange_weak(word, word + one(buffer)));
    return true;
  }
  // This and end_write() return the new word, for idle() and lets_writer_in().
  Word end_read(uint32_t buffer) { return word_.fetch_sub(one(buffer)) - one(buffer); }

  // --- The writer. Does not overtake waiting writers.
  Taken try_write() { return take(kAwaited, 0); }
  // Call with the cache's mutex held, as all below except end_write(), current() and load(). The
  // same, but overtakes waiting writers; if the slot is busy, records that a writer waits, which
  // the end of the blocking use sees.
  Taken write_or_await() { return take(0, kAwaited); }
  void nobody_waits() { word_.fetch_and(~kAwaited); }
  Word end_write(bool publish) {
    const Word change = kWriter | (publish ? kCurrent : 0);
    return word_.fetch_xor(change) ^ change;
  }

  // --- The contents. Removes them if they have no user and no waiting writer.
  bool try_claim() {
    Word word = word_.load();
    do {
      if ((word & kValid) == 0 || !idle(word) || (word & kAwaited) != 0) return false;
    } while (!word_.compare_exchange_weak(word, 0));
    return true;
  }
  // Buffer 0 of a claimed slot has contents now, and a first reader, a writer, or no user.
  void open_for_reader() { open(kValid | one(0)); }
  void open_for_writer() { open(kValid | kWriter); }
  void open_for_nobody() { open(kValid); }

  // The published buffer. Called by the slot's writer, or while no version can be published.
  uint32_t current() const { return current_of(word_.load()); }
  Word load() const { return word_.load(); }

  static bool idle(Word word) { return (word & (kAllReaders | kWriter)) == 0; }
  static bool lets_writer_in(Word word) { return (word & kAwaited) != 0 && is_writable(word); }

 private:
  static constexpr uint32_t kReaderBits = 24;
  static constexpr Word kReadersMax = (Word{1} << kReaderBits) - 1;
  static constexpr Word kAllReaders = (Word{1} << (2 * kReaderBits)) - 1;
  static constexpr Word kCurrent = Word{1} << 48;  // set: buffer 1 is
  static constexpr Word kValid = Word{1} << 49;
  static constexpr Word kWriter = Word{1} << 50;
  static constexpr Word kAwaited = Word{1} << 51;  // a writer waits for its turn

  static constexpr Word one(uint32_t buffer) { return Word{1} << (buffer * kReaderBits); }
  static uint32_t current_of(Word word) { return (word & kCurrent) != 0 ? 1 : 0; }
  static Word readers_of(Word word, uint32_t buffer) {
    return (word >> (buffer * kReaderBits)) & kReadersMax;
  }
  static bool is_writable(Word word) {
    return (word & kWriter) == 0 && readers_of(word, 1 - current_of(word)) == 0;
  }

  Taken take(Word unless, Word otherwise) {
    Word word = word_.load();
    for (;;) {
      if ((word & kValid) == 0) return Taken::absent;
      const bool takes = is_writable(word) && (word & unless) == 0;
      const Word wanted = word | (takes ? kWriter : otherwise);
      if (word_.compare_exchange_weak(word, wanted)) return takes ? Taken::yes : Taken::busy;
    }
  }
  void open(Word word) {
    assert(word_.load() == 0);
    word_.store(word);
  }

  std::atomic<Word> word_ = 0;
};

}  // namespace sluice
