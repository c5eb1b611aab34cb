#include "persistent/transaction_blocks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>
#include <vector>

namespace sluice::persistent {

Result<ConstBlock> TransactionBlocks::read(uint64_t number, BlockKind kind) {
  if (const auto found = new_.find(number); found != new_.end()) {
    if (found->second->kind == kind) return ConstBlock(found->second->bytes);
    return fail(EILSEQ, fmt::format("block {} is used as {} and as {}", number,
                                    name_of(found->second->kind), name_of(kind)));
  }
  auto& page = clean_[number];
  if (page == nullptr || page->kind != kind) {
    auto loaded = std::make_unique<Page>();
    loaded->kind = kind;
    auto read = reader_.read(number, loaded->bytes);
    if (read) read = verify(kind, number, loaded->bytes);
    if (!read) {
      if (page == nullptr) clean_.erase(number);
      return std::unexpected(read.error());
    }
    // The one of another kind is in use until the operation ends.
    if (page != nullptr) return fail(EILSEQ, fmt::format("block {} has two uses", number));
    page = std::move(loaded);
  }
  return ConstBlock(page->bytes);
}

Block TransactionBlocks::make(uint64_t number, BlockKind kind) {
  remember(number);
  auto& page = new_[number];
  if (page == nullptr) page = std::make_unique<Page>();
  page->bytes.fill(std::byte{});
  page->kind = kind;
  return page->bytes;
}

Block TransactionBlocks::change(uint64_t number) {
  remember(number);
  const auto found = new_.find(number);
  assert(found != new_.end());
  return found->second->bytes;
}

void TransactionBlocks::remember(uint64_t number) {
  if (before_.contains(number)) return;
  const auto found = new_.find(number);
  before_[number] = found == new_.end() ? nullptr : std::make_unique<Page>(*found->second);
}

void TransactionBlocks::set_savepoint() { assert(before_.empty()); }

void TransactionBlocks::drop_savepoint() { end_operation(); }

void TransactionBlocks::roll_back() {
  for (auto& [number, page] : before_) {
    if (page == nullptr) {
      new_.erase(number);
    } else {
      new_[number] = std::move(page);
    }
  }
  end_operation();
}

void TransactionBlocks::end_operation() {
  before_.clear();
  if (clean_.size() > kCleanMost) clean_.clear();
}

Result<void> TransactionBlocks::for_each_new(
    const std::function<Result<void>(uint64_t, ConstBlock)>& take) {
  std::vector<uint64_t> numbers;
  for (const auto& [number, page] : new_) numbers.push_back(number);
  std::ranges::sort(numbers);
  for (const uint64_t number : numbers) {
    Page& page = *new_[number];
    seal(page.kind, number, page.bytes);
    if (auto taken = take(number, page.bytes); !taken) return taken;
  }
  return {};
}

void TransactionBlocks::begin_transaction() {
  assert(before_.empty());
  for (auto& [number, page] : new_) clean_[number] = std::move(page);
  new_.clear();
  end_operation();
}

}  // namespace sluice::persistent
