#include "support/volatile_disk.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace sluice::test {
namespace {

constexpr std::byte kGarbage{0xD5};  // where something was discarded

}  // namespace

VolatileDisk::VolatileDisk(Power& power, uint64_t size_bytes, bool fua)
    : power_(power), durable_(size_bytes / kSector), durable_sectors_(durable_.size()) {
  geometry_.size_bytes = size_bytes;
  geometry_.logical_block_bytes = kSector;
  geometry_.volatile_cache = true;
  geometry_.can_fua = fua;
  geometry_.needs_bytes = true;
}

void VolatileDisk::offer_discard() {
  geometry_.can_discard = true;
  geometry_.can_write_zeroes = true;
}

Result<uint64_t> VolatileDisk::do_resize(std::optional<uint64_t> wanted) {
  const std::scoped_lock guard(power_.mutex);
  if (wanted && *wanted > most_bytes) return sluice::fail(ENOSPC, "the disk is full");
  if (wanted) durable_.resize(*wanted / kSector);
  return durable_.size() * kSector;
}

void VolatileDisk::load(std::span<const std::byte> bytes) {
  const std::scoped_lock guard(power_.mutex);
  pending_.clear();
  std::memcpy(durable_.data(), bytes.data(), bytes.size());
}

std::vector<std::byte> VolatileDisk::after_cut(Left left, std::mt19937_64& random) const {
  std::vector<Sector> sectors = durable_;
  for (const auto& [sector, written] : pending_) {
    const size_t all = written.size();
    const size_t chosen = left == Left::newest ? all : random() % (all + 1);
    if (left != Left::durable && chosen != 0) sectors[sector] = written[chosen - 1].bytes;
  }
  const size_t grown = sectors.size() - durable_sectors_;
  if (left != Left::newest && grown != 0) {
    sectors.resize(durable_sectors_ + (left == Left::any ? random() % (grown + 1) : 0));
  }
  std::vector<std::byte> bytes(sectors.size() * kSector);
  std::memcpy(bytes.data(), sectors.data(), bytes.size());
  return bytes;
}

// Writes that are running may come after it.
void VolatileDisk::cut_power(std::mt19937_64& random) {
  const std::scoped_lock guard(power_.mutex);
  ++cuts_;
  for (auto& [sector, written] : pending_) {
    const size_t kept = random() % (written.size() + 1);
    for (size_t i = 0; i < kept; ++i) {
      if (written[i].done_at != 0) durable_[sector] = written[i].bytes;
    }
    std::erase_if(written, [](const Written& each) { return each.done_at != 0; });
  }
  std::erase_if(pending_, [](const auto& each) { return each.second.empty(); });
}

Task VolatileDisk::do_submit(Request& request) {
  switch (request.op) {
    case Op::read:
      return read(request);
    case Op::write:
      return write(request);
    case Op::flush:
      return flush(request);
    case Op::discard:
      return fill(request, kGarbage);
    case Op::write_zeroes:
      return fill(request, std::byte{0});
    default:
      return Status::from_errno(EOPNOTSUPP);
  }
}

Task VolatileDisk::read(Request& request) {
  auto sleeping = request.ring->sleep(std::chrono::nanoseconds(1000));
  std::ignore = co_await sleeping;
  std::vector<std::byte> bytes(request.length);
  int error = 0;
  {
    const std::scoped_lock guard(power_.mutex);
    ++reads_;
    for (uint64_t done = 0; done < request.length; done += kSector) {
      const Sector& sector = newest((request.offset + done) / kSector);
      std::memcpy(bytes.data() + done, sector.data(), kSector);
    }
    if (fails) error = fails(request);
  }
  if (error != 0) co_return Status::from_errno(error);
  auto copying = request.ring->copy_in(request.data, bytes);
  co_return co_await copying;
}

Task VolatileDisk::write(Request& request) {
  std::vector<std::byte> bytes(request.length);
  auto copying = request.ring->copy_out(request.data, bytes);
  const Status copied = co_await copying;
  if (!copied.ok()) co_return copied;
  Task changing = change(request, std::move(bytes));
  co_return co_await changing;
}

Task VolatileDisk::fill(Request& request, std::byte value) {
  return change(request, std::vector<std::byte>(request.length, value));
}

Task VolatileDisk::change(Request& request, std::vector<std::byte> bytes) {
  uint64_t id = 0;
  int error = 0;
  {
    const std::scoped_lock guard(power_.mutex);
    ++writes_;
    id = ++next_id_;
    begin_write(request.offset, bytes, id);
    if (fails) error = fails(request);
    event();
  }
  auto sleeping = request.ring->sleep(std::chrono::nanoseconds(1000));
  std::ignore = co_await sleeping;
  const std::scoped_lock guard(power_.mutex);
  end_write(request, id, error);
  event();
  co_return Status::from_errno(error);
}

// From now on a power cut may leave this write.
void VolatileDisk::begin_write(uint64_t offset, std::span<const std::byte> bytes, uint64_t id) {
  for (uint64_t done = 0; done < bytes.size(); done += kSector) {
    Written& written = pending_[(offset + done) / kSector].emplace_back();
    written.id = id;
    std::memcpy(written.bytes.data(), bytes.data() + done, kSector);
  }
}

void VolatileDisk::end_write(const Request& request, uint64_t id, int error) {
  ++time_;
  for (uint64_t done = 0; done < request.length; done += kSector) {
    const uint64_t sector = (request.offset + done) / kSector;
    std::deque<Written>& all = pending_[sector];
    const auto written = std::ranges::find(all, id, &Written::id);
    if (written == all.end()) continue;  // a later one is durable
    if (error != 0 && power_.random() % 2 == 0) {
      all.erase(written);
    } else {
      written->done_at = time_;
      if (request.fua && error == 0) make_durable(sector, time_);
    }
    if (all.empty()) pending_.erase(sector);
  }
}

Task VolatileDisk::flush(Request& request) {
  uint64_t began = 0;
  uint64_t cuts = 0;
  size_t size = 0;
  int error = 0;
  {
    const std::scoped_lock guard(power_.mutex);
    ++flushes_;
    began = time_;
    cuts = cuts_;
    size = durable_.size();
    if (fails) error = fails(request);
    event();
  }
  auto sleeping = request.ring->sleep(std::chrono::nanoseconds(1000));
  std::ignore = co_await sleeping;
  const std::scoped_lock guard(power_.mutex);
  if (cuts != cuts_) error = EIO;
  if (error == 0) durable_sectors_ = std::max(durable_sectors_, size);
  std::vector<uint64_t> sectors;
  for (const auto& [sector, written] : pending_) sectors.push_back(sector);
  for (const uint64_t sector : sectors) {
    // A failed flush may have made any part durable, and may have lost the rest.
    if (error == 0 || power_.random() % 2 == 0) make_durable(sector, began);
    if (error != 0 && power_.random() % 2 == 0) pending_.erase(sector);
    const auto left = pending_.find(sector);
    if (left != pending_.end() && left->second.empty()) pending_.erase(left);
  }
  event();
  co_return Status::from_errno(error);
}

// Makes the newest write that had ended by then durable, and drops all older ones.
void VolatileDisk::make_durable(uint64_t sector, uint64_t until) {
  std::deque<Written>& all = pending_[sector];
  for (size_t i = all.size(); i-- > 0;) {
    if (all[i].done_at == 0 || all[i].done_at > until) continue;
    durable_[sector] = all[i].bytes;
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    return;
  }
}

const VolatileDisk::Sector& VolatileDisk::newest(uint64_t sector) const {
  const auto found = pending_.find(sector);
  if (found == pending_.end()) return durable_[sector];
  for (size_t i = found->second.size(); i-- > 0;) {
    if (found->second[i].done_at != 0) return found->second[i].bytes;
  }
  return durable_[sector];
}

}  // namespace sluice::test
