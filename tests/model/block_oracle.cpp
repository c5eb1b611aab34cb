#include "model/block_oracle.hpp"

#include <fmt/format.h>

#include <cstring>

namespace sluice::test {
namespace {

constexpr uint64_t kWords = BlockOracle::kBlock / sizeof(uint64_t);
constexpr uint64_t kOdd = 0x9E3779B97F4A7C15;

uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

// Word `index` of a block. The number comes first, so that it is visible in a dump.
uint64_t word_of(uint64_t number, uint64_t block, uint64_t index) {
  if (number == 0 || index == 0) return number;
  return mix(number * kOdd + block) + index * kOdd;
}

}  // namespace

BlockOracle::BlockOracle(uint64_t size_bytes)
    : blocks_(size_bytes / kBlock, History{{.number = 0, .done_at = 0}}) {}

void BlockOracle::fill(uint64_t number, uint64_t offset, std::span<std::byte> bytes) {
  for (size_t done = 0; done < bytes.size(); done += sizeof(uint64_t)) {
    const uint64_t place = offset + done;
    const uint64_t word = word_of(number, place / kBlock, place % kBlock / sizeof(uint64_t));
    std::memcpy(bytes.data() + done, &word, sizeof(word));
  }
}

void BlockOracle::begin(uint64_t number, uint64_t offset, uint64_t length) {
  for_each_block(offset, length, [&](History& history) {
    history.push_back({.number = number, .done_at = kNever});
  });
}

void BlockOracle::end(uint64_t offset, uint64_t length, bool durable) {
  ++time_;
  for_each_block(offset, length, [&](History& history) {
    history.back().done_at = time_;
    if (durable) history.erase(history.begin(), history.end() - 1);
  });
}

// Writes that were done before the flush began are durable now; older contents are gone.
void BlockOracle::flushed(uint64_t time) {
  for (History& history : blocks_) {
    const auto durable = static_cast<long>(newest_done_before(history, time));
    history.erase(history.begin(), history.begin() + durable);
  }
}

std::string BlockOracle::check(uint64_t offset, std::span<const std::byte> bytes) const {
  for (size_t done = 0; done < bytes.size(); done += kBlock) {
    const std::span<const std::byte> block = bytes.subspan(done, kBlock);
    const History& history = blocks_[(offset + done) / kBlock];
    const size_t first = newest_done_before(history, time_);
    bool found = false;
    for (size_t i = history.size(); i-- > first;) {
      found = found || matches(history[i].number, offset + done, block);
    }
    if (!found) return describe(history, first, offset + done, block);
  }
  return {};
}

std::string BlockOracle::adopt(uint64_t offset, std::span<const std::byte> bytes) {
  for (size_t done = 0; done < bytes.size(); done += kBlock) {
    const std::span<const std::byte> block = bytes.subspan(done, kBlock);
    History& history = blocks_[(offset + done) / kBlock];
    const Version* found = nullptr;
    for (const Version& version : history) {
      if (matches(version.number, offset + done, block)) found = &version;
    }
    if (found == nullptr) return describe(history, 0, offset + done, block);
    history = {{.number = found->number, .done_at = 0}};
  }
  return {};
}

bool BlockOracle::matches(uint64_t number, uint64_t offset, std::span<const std::byte> block) {
  for (uint64_t index = 0; index < kWords; ++index) {
    uint64_t word = 0;
    std::memcpy(&word, block.data() + index * sizeof(word), sizeof(word));
    if (word != word_of(number, offset / kBlock, index)) return false;
  }
  return true;
}

size_t BlockOracle::newest_done_before(const History& history, uint64_t time) {
  for (size_t i = history.size(); i-- > 0;) {
    if (history[i].done_at <= time) return i;
  }
  return 0;
}

std::string BlockOracle::describe(const History& history, size_t first, uint64_t offset,
                                  std::span<const std::byte> block) {
  uint64_t word = 0;
  std::memcpy(&word, block.data(), sizeof(word));
  std::string text =
      fmt::format("the block at {} begins with {} ({:#x}); it can be", offset, word, word);
  for (size_t i = first; i < history.size(); ++i) {
    const bool done = history[i].done_at != kNever;
    text += fmt::format(" {}{}", history[i].number, done ? "" : " (not acknowledged)");
  }
  return text;
}

template <typename Visit>
void BlockOracle::for_each_block(uint64_t offset, uint64_t length, Visit visit) {
  for (uint64_t block = offset / kBlock; block < (offset + length) / kBlock; ++block) {
    visit(blocks_[block]);
  }
}

}  // namespace sluice::test
