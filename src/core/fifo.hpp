// Fifo: a queue of objects that carry their own link, first come, first served. It allocates
// nothing and owns nothing: an item stays where it is until it is popped.
#pragma once

namespace sluice {

template <typename T>
class Fifo;

// Base class of items; an item is in at most one Fifo at a time.
template <typename T>
class FifoLink {
  friend class Fifo<T>;
  T* next_in_fifo_ = nullptr;
};

template <typename T>
class Fifo {
 public:
  bool empty() const { return first_ == nullptr; }
  // The oldest item, or null.
  T* front() const { return first_; }

  void push(T& item) {
    link(item) = nullptr;
    (first_ == nullptr ? first_ : link(*last_)) = &item;
    last_ = &item;
  }
  // Removes the oldest item and returns it, or null if there is none.
  T* pop() {
    T* const item = first_;
    if (item != nullptr) first_ = link(*item);
    return item;
  }
  // False if it is not in this queue. Looks through all of it.
  bool remove(const T& item) {
    T* before = nullptr;
    for (T* one = first_; one != nullptr; before = one, one = link(*one)) {
      if (one != &item) continue;
      (before == nullptr ? first_ : link(*before)) = link(*one);
      if (last_ == one) last_ = before;
      return true;
    }
    return false;
  }

 private:
  static T*& link(T& item) { return static_cast<FifoLink<T>&>(item).next_in_fifo_; }

  T* first_ = nullptr;
  T* last_ = nullptr;
};

}  // namespace sluice
