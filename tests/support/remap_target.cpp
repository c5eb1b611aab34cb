#include "support/remap_target.hpp"

#include <fmt/format.h>

#include <cstring>

#include "ring/ring.hpp"

namespace sluice::test {
namespace {

constexpr SuperblockFormat kFormat = {.name = "remap",
                                      .magic = {'S', 'L', 'R', 'E', 'M', 'A', 'P', '1'},
                                      .oldest_version = 1,
                                      .version = 1,
                                      .places = {0, 4096},
                                      .copy_bytes = 512};

Target::Children only(std::unique_ptr<Target> child) {
  Target::Children children;
  children.push_back(std::move(child));
  return children;
}

uint64_t table_end(uint64_t begin, uint64_t blocks) {
  const uint64_t tables = (blocks + Remap::kPointers - 1) / Remap::kPointers;
  return begin + tables * Remap::kTableBytes;
}

}  // namespace

uint64_t Remap::child_bytes(uint64_t blocks, uint64_t places) {
  return table_end(kTableBegin, blocks) + places * kBlockBytes;
}

Remap::Remap(std::unique_ptr<Target> child, uint64_t blocks, uint32_t cached)
    : Target(only(std::move(child))),
      blocks_(blocks),
      places_begin_(table_end(kTableBegin, blocks)),
      places_((this->child(0).geometry().size_bytes - places_begin_) / kBlockBytes) {
  geometry_ = this->child(0).geometry();
  geometry_.size_bytes = blocks * kBlockBytes;
  geometry_.logical_block_bytes = kBlockBytes;
  geometry_.can_discard = true;
  geometry_.can_fua = false;
  superblock_ = std::move(*Superblock::create(this->child(0), kFormat));
  cache_ = std::move(*MetadataCache::create(
      this->child(0), {.name = "remap", .block_bytes = kTableBytes, .blocks = cached}));
}

Task Remap::format(Request& request) {
  for (uint64_t block = 0; block < blocks_; block += kPointers) {
    WritePin table;
    Task taking = cache_->write_new(request, table_block(block), table);
    const Status taken = co_await taking;
    if (!taken.ok()) co_return taken;
    table.publish();
  }
  Task flushing = cache_->flush(request);
  const Status flushed = co_await flushing;
  if (!flushed.ok()) co_return flushed;
  Task writing = superblock_->format(request, std::as_bytes(std::span(&reserved_, 1)));
  co_return co_await writing;
}

Task Remap::load(Request& request) {
  Task loading = superblock_->load(request);
  const Status loaded = co_await loading;
  if (!loaded.ok()) complaint_ = superblock_->error().text;
  if (!loaded.ok()) co_return loaded;
  std::memcpy(&reserved_, superblock_->payload().data(), sizeof(reserved_));
  used_ = reserved_;
  std::vector<uint64_t> owners(places_ + 1, UINT64_MAX);
  for (uint64_t block = 0; block < blocks_; ++block) {
    uint64_t place = 0;
    Task looking = pointer_of(request, block, place);
    const Status looked = co_await looking;
    if (!looked.ok()) co_return looked;
    if (place == 0) continue;
    if (place > reserved_) {
      complaint_ = fmt::format("block {} is at place {} of {}", block, place, reserved_);
      co_return Status::from_errno(EILSEQ);
    }
    if (owners[place] != UINT64_MAX) {
      complaint_ = fmt::format("blocks {} and {} are both at {}", owners[place], block, place);
      co_return Status::from_errno(EILSEQ);
    }
    owners[place] = block;
  }
  co_return kOk;
}

Task Remap::do_submit(Request& request) {
  return request.op == Op::flush ? flush(request) : serve_blocks(request);
}

Task Remap::serve_blocks(Request& request) {
  for (uint64_t done = 0; done < request.length; done += kBlockBytes) {
    Request part = request.child(request.offset + done, kBlockBytes);
    if (request.has_data()) {
      part.data = request.data.slice(static_cast<uint32_t>(done), kBlockBytes, *request.arena);
    }
    Task serving = part.op == Op::read    ? read(part)
                   : part.op == Op::write ? write(part)
                                          : discard(part);
    const Status served = co_await serving;
    if (!served.ok()) co_return served;
  }
  co_return kOk;
}

Task Remap::read(Request& request) {
  uint64_t place = 0;
  Task looking = pointer_of(request, request.offset / kBlockBytes, place);
  const Status looked = co_await looking;
  if (!looked.ok()) co_return looked;
  if (place != 0) {
    Task reading = submit_at(request, place);
    co_return co_await reading;
  }
  auto clearing = request.ring->zero(request.data);
  co_return co_await clearing;
}

Task Remap::write(Request& request) {
  uint64_t place = 0;
  Task looking = pointer_of(request, request.offset / kBlockBytes, place);
  const Status looked = co_await looking;
  if (!looked.ok()) co_return looked;
  Task writing = place != 0 ? submit_at(request, place) : write_first(request);
  co_return co_await writing;
}

// Data, then the pointer to it.
Task Remap::write_first(Request& request) {
  uint64_t place = 0;
  Task placing = take_place(request, place);
  const Status placed = co_await placing;
  if (!placed.ok()) co_return placed;
  Task writing = submit_at(request, place);
  const Status written = co_await writing;
  if (!written.ok()) co_return written;  // the place is lost
  const uint64_t block = request.offset / kBlockBytes;
  WritePin table;
  Task taking = cache_->write(request, table_block(block), table);
  const Status taken = co_await taking;
  if (!taken.ok()) co_return taken;
  Task ordering = cache_->order_after_data(request, table);
  const Status ordered = co_await ordering;
  if (!ordered.ok()) co_return ordered;
  set(table.bytes(), block, place);
  table.publish();
  co_return kOk;
}

Task Remap::discard(Request& request) {
  const uint64_t block = request.offset / kBlockBytes;
  WritePin table;
  Task taking = cache_->write(request, table_block(block), table);
  const Status taken = co_await taking;
  if (!taken.ok()) co_return taken;
  const uint64_t place = get(table.bytes(), block);
  if (place == 0) co_return kOk;
  set(table.bytes(), block, 0);
  const BlockVersion gone = table.publish();
  AsyncMutex::Hold hold(allocating_, *request.ring);
  co_await hold;
  freed_.push_back({.place = place, .after = gone});
  co_return kOk;
}

// The cache's own flushes reach the data of the child, but there may be none of them to do.
Task Remap::flush(Request& request) {
  Task flushing = cache_->flush(request);
  const Status flushed = co_await flushing;
  if (!flushed.ok()) co_return flushed;
  Task flushing_data = child(0).submit(request);
  co_return co_await flushing_data;
}

Task Remap::pointer_of(Request& request, uint64_t block, uint64_t& place) {
  ReadPin table;
  Task taking = cache_->read(request, table_block(block), table);
  const Status taken = co_await taking;
  if (taken.ok()) place = get(table.bytes(), block);
  co_return taken;
}

Task Remap::take_place(Request& request, uint64_t& place) {
  AsyncMutex::Hold hold(allocating_, *request.ring);
  co_await hold;
  if (!freed_.empty()) {
    const Freed freed = freed_.front();
    Task waiting = cache_->make_durable(request, freed.after);
    const Status gone = co_await waiting;
    if (!gone.ok()) co_return gone;
    freed_.erase(freed_.begin());
    place = freed.place;
    co_return kOk;
  }
  if (used_ == places_) co_return Status::from_errno(ENOSPC);
  if (used_ == reserved_) {
    const uint64_t wanted = std::min(reserved_ + kReserved, places_);
    Task writing = superblock_->write(request, std::as_bytes(std::span(&wanted, 1)));
    const Status written = co_await writing;
    if (!written.ok()) co_return written;
    reserved_ = wanted;
  }
  place = ++used_;
  co_return kOk;
}

Task Remap::submit_at(Request& request, uint64_t place) {
  return forward(request, child(0), place_offset(place));
}

uint64_t Remap::get(std::span<const std::byte> table, uint64_t block) {
  uint64_t place = 0;
  std::memcpy(&place, table.data() + block % kPointers * sizeof(place), sizeof(place));
  return place;
}

void Remap::set(std::span<std::byte> table, uint64_t block, uint64_t place) {
  std::memcpy(table.data() + block % kPointers * sizeof(place), &place, sizeof(place));
}

}  // namespace sluice::test
