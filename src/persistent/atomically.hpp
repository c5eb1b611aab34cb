// Transaction::atomically() and reading(): for the files that implement it.
#pragma once

#include "persistent/transaction.hpp"

namespace sluice::persistent {

// Undone unless the work succeeds.
template <typename Work>
auto Transaction::atomically(Work work, Kind kind) -> decltype(work()) {
  if (failed_) return fail(EIO, "the last commit has failed: the pool must be opened again");
  const Superblock superblock = superblock_;
  const SpaceMapRoot data_root = data_.root();
  metadata_.set_savepoint(kind == Kind::frees);
  blocks_.set_savepoint();
  auto done = work();
  if (done) {
    blocks_.drop_savepoint();
    return done;
  }
  blocks_.roll_back();
  metadata_.roll_back();
  data_.set_root(data_root);
  superblock_ = superblock;
  return done;
}

// Changes nothing, and is possible whatever has happened to a commit: what is in memory is whole.
template <typename Work>
auto Transaction::reading(Work work) -> decltype(work()) {
  auto done = work();
  blocks_.drop_savepoint();
  return done;
}

}  // namespace sluice::persistent
