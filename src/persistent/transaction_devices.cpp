// The operations of a Transaction on whole devices.
#include <fmt/format.h>

#include "persistent/atomically.hpp"
#include "persistent/transaction.hpp"

namespace sluice::persistent {

Result<void> Transaction::create_device(uint64_t id) {
  return atomically([&]() -> Result<void> {
    if (auto checked = check_new(id); !checked) return checked;
    const auto root = mappings_.create();
    if (!root) return std::unexpected(root.error());
    return add_device(id, *root, {});
  });
}

// The snapshot has the tree of its origin, which from then on both copy before they change it.
Result<void> Transaction::create_snapshot(uint64_t id, uint64_t origin) {
  return atomically([&]() -> Result<void> {
    if (auto checked = check_new(id); !checked) return checked;
    auto details = find_details(origin);
    if (!details) return std::unexpected(details.error());
    const auto root = root_of(origin);
    if (!root) return std::unexpected(root.error());
    const auto time = next_time();
    if (!time) return std::unexpected(time.error());
    details->snapshotted_time = *time;
    if (auto set = set_details(origin, *details); !set) return set;
    if (auto referred = metadata_.increase(*root); !referred) return referred;
    return add_device(id, *root, *details);
  });
}

Result<void> Transaction::remove_device(uint64_t id) {
  return atomically(
      [&]() -> Result<void> {
        const auto root = unlist(id);
        if (!root) return std::unexpected(root.error());
        return mappings_.release(*root);
      },
      Kind::frees);
}

// The tree of the snapshot takes the place of its own.
Result<void> Transaction::roll_back(uint64_t id, uint64_t snapshot) {
  return atomically(
      [&]() -> Result<void> {
        if (id == snapshot) {
          return fail(EINVAL, fmt::format("device {} cannot be a snapshot of itself", id));
        }
        if (auto found = find_details(id); !found) return std::unexpected(found.error());
        auto details = find_details(snapshot);
        if (!details) return std::unexpected(details.error());
        const auto time = next_time();
        if (!time) return std::unexpected(time.error());
        details->snapshotted_time = *time;
        if (auto set = set_details(snapshot, *details); !set) return set;
        const auto root = root_of(snapshot);
        if (!root) return std::unexpected(root.error());
        if (auto referred = metadata_.increase(*root); !referred) return referred;
        const auto old = root_of(id);
        if (!old) return std::unexpected(old.error());
        // The reference of the mapping tree is given up below, with all that the tree has.
        if (auto referred = metadata_.increase(*old); !referred) return referred;
        if (auto added = add_device(id, *root, *details); !added) return added;
        return mappings_.release(*old);
      },
      Kind::frees);
}

Result<void> Transaction::share_all(uint64_t id) {
  return atomically([&]() -> Result<void> {
    auto details = find_details(id);
    if (!details) return std::unexpected(details.error());
    const auto time = next_time();
    if (!time) return std::unexpected(time.error());
    details->snapshotted_time = *time;
    return set_details(id, *details);
  });
}

Result<uint32_t> Transaction::next_time() {
  if (superblock_.time == kTimeMost) {
    return fail(EOVERFLOW, "the time of the pool is at its end: no more snapshots can be taken");
  }
  return ++superblock_.time;
}

}  // namespace sluice::persistent
