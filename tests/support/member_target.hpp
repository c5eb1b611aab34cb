// Member: the simplest child for the tests of a layer: each request is one operation of the ring,
// at the same offset, on the file whose number is the member's. On a ManualRing the number tells
// the SQEs of several members apart, or is that of a real file.
#pragma once

#include <fcntl.h>
#include <linux/falloc.h>

#include <memory>

#include "ring/ring.hpp"
#include "target/target.hpp"

namespace sluice::test {

class Member final : public Target {
 public:
  Member(int number, uint64_t size_bytes) : file_{.number = number} {
    geometry_.size_bytes = size_bytes;
    geometry_.can_discard = true;
    geometry_.can_write_zeroes = true;
    geometry_.can_fua = true;
    geometry_.volatile_cache = true;
  }

  // Change it before the member becomes a child.
  Geometry& shape() { return geometry_; }

 private:
  Task do_submit(Request& request) override {
    auto operation = the_operation(request);
    co_return co_await operation;
  }

  Operation the_operation(const Request& request) const {
    Ring& ring = *request.ring;
    switch (request.op) {
      case Op::read:
        return ring.read(file_, request.offset, request.data);
      case Op::write:
        return ring.write(file_, request.offset, request.data, request.fua);
      case Op::flush:
        return ring.sync(file_, true);
      case Op::prefetch:
        return ring.prefetch(file_, request.offset, request.length);
      case Op::discard:
      case Op::write_zeroes:
        break;
    }
    // The only such operation that every file system supports, including tmpfs.
    return ring.fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, request.offset,
                          request.length);
  }

  const File file_;
};

// Members 0, 1, 2 ... of the given sizes.
inline Target::Children make_members(std::initializer_list<uint64_t> sizes_bytes) {
  Target::Children members;
  for (const uint64_t size : sizes_bytes) {
    members.push_back(std::make_unique<Member>(static_cast<int>(members.size()), size));
  }
  return members;
}

}  // namespace sluice::test
