// RingLocal: one object per ring, such as a connection or a completion queue, which a coroutine
// finds by its own ring.
//
//   class Remote : public Target {
//     RingLocal<Connection> connections_;           Connection derives from RingResident
//   };
//   connections_.put(*request.ring, std::make_unique<Connection>(...));
//   Connection* mine = connections_.of(*request.ring);
//
// A lookup is two loads, without a lock. put(), of() and take() are for the ring's thread. A ring
// that ends destroys the objects left on it, after it has given up its operations.
#pragma once

#include <cstdint>
#include <memory>

#include "ring/ring.hpp"

namespace sluice {

// A number that is unique among the RingLocals of the process that exist at the same time.
class RingLocalNumber {
 public:
  RingLocalNumber();
  RingLocalNumber(const RingLocalNumber&) = delete;
  RingLocalNumber& operator=(const RingLocalNumber&) = delete;
  ~RingLocalNumber();

  uint32_t value() const { return value_; }

 private:
  uint32_t value_;
};

// `T` derives from RingResident.
template <typename T>
class RingLocal {
 public:
  // Null: the ring has no object.
  T* of(const Ring& ring) const { return static_cast<T*>(ring.residents().find(number_.value())); }
  // The ring must not have an object yet.
  void put(Ring& ring, std::unique_ptr<T> object) {
    ring.residents().put(number_.value(), std::move(object));
  }
  // Null: the ring had no object.
  std::unique_ptr<T> take(Ring& ring) {
    return std::unique_ptr<T>(static_cast<T*>(ring.residents().take(number_.value()).release()));
  }

 private:
  RingLocalNumber number_;
};

}  // namespace sluice
