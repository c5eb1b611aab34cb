// The steps of the users of a MetadataWorld.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>

#include "core/private_loan.hpp"
#include "model/metadata_world.hpp"

namespace sluice::test {
namespace {

constexpr size_t kTokensKept = 40;

}  // namespace

Task MetadataWorld::user(Request& request, int number, int steps) {
  Random& random = of_users_[static_cast<size_t>(number)];
  for (int i = 0; i < steps; ++i) {
    const uint64_t dice = random() % 100;
    if (dice < 45) {
      Task step =
          shape_.pins == 2 && dice < 15 ? change_two(request, random) : change(request, random);
      std::ignore = co_await step;
    } else if (dice < 70) {
      Task step = look(request, random);
      std::ignore = co_await step;
    } else if (dice < 85) {
      Task step = write_data(request, random);
      std::ignore = co_await step;
    } else if (dice < 93) {
      Task step = make_durable(request, random);
      std::ignore = co_await step;
    } else {
      Task step = flush(request);
      std::ignore = co_await step;
    }
    if (shape_.errors && random() % 8 == 0) cache_->forgive();
  }
  co_return kOk;
}

Task MetadataWorld::change(Request& request, Random& random) {
  const uint64_t block = random() % shape_.blocks;
  WritePin pin;
  Task taking = random() % 8 == 0 ? cache_->write_new(request, block, pin)
                                  : cache_->write(request, block, pin);
  const Status taken = co_await taking;
  if (!allowed(taken, "taking for writing")) co_return taken;
  std::vector<Order> orders;
  Task preparing = prepare(request, random, pin, orders);
  const Status prepared = co_await preparing;
  if (!allowed(prepared, "an order")) co_return prepared;
  if (random() % 10 != 0) publish(pin, orders);
  co_return kOk;
}

// Changes two blocks like a transaction: the second block is ordered after the first.
Task MetadataWorld::change_two(Request& request, Random& random) {
  const uint64_t one = random() % (shape_.blocks - 1);
  const uint64_t two = one + 1 + random() % (shape_.blocks - 1 - one);
  WritePin pins[2];
  Task taking = cache_->write(request, one, pins[0]);
  const Status taken = co_await taking;
  if (!allowed(taken, "taking the first of two")) co_return taken;
  Task taking_more = cache_->write(request, two, pins[1]);
  const Status taken_more = co_await taking_more;
  if (!allowed(taken_more, "taking the second of two")) co_return taken_more;
  const bool forwards = random() % 2 == 0;
  for (const size_t i : {forwards ? 0U : 1U, forwards ? 1U : 0U}) {
    std::vector<Order> orders;
    Task preparing = prepare(request, random, pins[i], orders);
    const Status prepared = co_await preparing;
    if (!allowed(prepared, "an order of two")) co_return prepared;
    Published last;
    {
      const std::scoped_lock guard(mutex_);
      if (!tokens_.empty()) last = tokens_.back();
    }
    if (last.token.slot != nullptr) {
      Task ordering = cache_->order_after(request, pins[i], last.token);
      const Status ordered = co_await ordering;
      if (!allowed(ordered, "the order of two")) co_return ordered;
      orders.push_back({.other = last.block, .other_version = last.version});
    }
    publish(pins[i], orders);
  }
  co_return kOk;
}

// Checks the contents of the pin, and declares some orders.
Task MetadataWorld::prepare(Request& request, Random& random, WritePin& pin,
                            std::vector<Order>& orders) {
  const uint64_t block = pin.number();
  const bool fresh =
      std::ranges::all_of(pin.bytes(), [](std::byte each) { return each == std::byte{0}; });
  if (!fresh) {
    const uint64_t seen = version_in(pin.bytes(), block);
    const std::scoped_lock guard(mutex_);
    if (judges_contents() && seen != current_[block]) {
      failure_ += fmt::format("a writer of block {} sees version {} and not {}\n", block, seen,
                              current_[block]);
    }
  }
  std::vector<Published> before;
  {
    const std::scoped_lock guard(mutex_);
    for (uint64_t i = tokens_.empty() ? 0 : random() % 4; i > 0; --i) {
      before.push_back(tokens_[tokens_.size() - 1 - random() % tokens_.size()]);
    }
  }
  for (const Published& each : before) {
    Task ordering = cache_->order_after(request, pin, each.token);
    const Status ordered = co_await ordering;
    if (!ordered.ok()) co_return ordered;
    orders.push_back({.other = each.block, .other_version = each.version});
  }
  if (random() % 3 != 0) co_return kOk;
  std::vector<uint64_t> done;
  {
    const std::scoped_lock guard(mutex_);
    done = data_done_;
  }
  Task ordering = cache_->order_after_data(request, pin);
  const Status ordered = co_await ordering;
  if (!ordered.ok()) co_return ordered;
  for (uint64_t i = 0; i < kDataSectors; ++i) {
    orders.push_back({.data = true, .other = i, .other_version = done[i]});
  }
  co_return kOk;
}

// Cache and model both record the version before any of it is on a disk.
void MetadataWorld::publish(WritePin& pin, std::vector<Order>& orders) {
  const uint64_t block = pin.number();
  uint64_t version = 0;
  {
    const std::scoped_lock guard(mutex_);
    version = current_[block] = ++next_[block];
    for (Order& order : orders) {
      order.block = block;
      order.version = version;
      orders_.push_back(order);
    }
  }
  stamp(pin.bytes(), block, version);
  const BlockVersion token = pin.publish();
  const std::scoped_lock guard(mutex_);
  published_[block] = std::max(published_[block], version);
  tokens_.push_back({.block = block, .version = version, .token = token});
  if (tokens_.size() > kTokensKept) tokens_.erase(tokens_.begin());
}

Task MetadataWorld::look(Request& request, Random& random) {
  const uint64_t block = random() % shape_.blocks;
  uint64_t least = 0;
  {
    const std::scoped_lock guard(mutex_);
    least = published_[block];
  }
  ReadPin pin;
  Task taking = cache_->read(request, block, pin);
  const Status taken = co_await taking;
  if (!allowed(taken, "taking for reading")) co_return taken;
  const uint64_t seen = version_in(pin.bytes(), block);
  {
    const std::scoped_lock guard(mutex_);
    if (judges_contents() && (seen < least || seen > current_[block])) {
      failure_ += fmt::format("a reader of block {} sees version {}, of {} to {}\n", block, seen,
                              least, current_[block]);
    }
  }
  auto resting = request.ring->sleep(std::chrono::nanoseconds(1000));
  std::ignore = co_await resting;
  if (version_in(pin.bytes(), block) != seen) complain("a pinned block has changed");
  co_return kOk;
}

Task MetadataWorld::flush(Request& request) {
  std::vector<uint64_t> before;
  {
    const std::scoped_lock guard(mutex_);
    before = published_;
  }
  Task flushing = cache_->flush(request);
  const Status flushed = co_await flushing;
  if (!allowed(flushed, "a flush")) co_return flushed;
  const std::scoped_lock guard(mutex_);
  for (uint64_t i = 0; i < shape_.blocks; ++i) durable_[i] = std::max(durable_[i], before[i]);
  co_return kOk;
}

Task MetadataWorld::make_durable(Request& request, Random& random) {
  Published chosen;
  {
    const std::scoped_lock guard(mutex_);
    if (tokens_.empty()) co_return kOk;
    chosen = tokens_[random() % tokens_.size()];
  }
  Task working = cache_->make_durable(request, chosen.token);
  const Status done = co_await working;
  if (!allowed(done, "make_durable")) co_return done;
  const std::scoped_lock guard(mutex_);
  durable_[chosen.block] = std::max(durable_[chosen.block], chosen.version);
  co_return kOk;
}

// Writes a sector that no other user writes at the same time.
Task MetadataWorld::write_data(Request& request, Random& random) {
  const uint64_t sector = random() % kDataSectors;
  uint64_t version = 0;
  {
    const std::scoped_lock guard(mutex_);
    if (data_begun_[sector] != data_done_[sector]) co_return kOk;
    version = ++data_begun_[sector];
  }
  alignas(16) std::array<std::byte, VolatileDisk::kSector> bytes{};
  const SectorStamp stamp{.number = sector, .version = version};
  std::memcpy(bytes.data(), &stamp, sizeof(stamp));
  PrivateLoan loan(Direction::source, bytes);
  Request writing = request.child(data_place() + sector * VolatileDisk::kSector, loan.view());
  writing.op = Op::write;
  Task task = data_disk_.submit(writing);
  const Status written = co_await task;
  const std::scoped_lock guard(mutex_);
  if (written.ok()) data_done_[sector] = version;
  if (!written.ok()) data_begun_[sector] = data_done_[sector];
  co_return written;
}

uint64_t MetadataWorld::data_place() const {
  return shape_.data_elsewhere ? 0 : shape_.blocks * shape_.block_bytes;
}

}  // namespace sluice::test
