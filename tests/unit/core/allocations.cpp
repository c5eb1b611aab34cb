#include "unit/core/allocations.hpp"

#include <cstdlib>
#include <new>

namespace sluice::test {
namespace {

thread_local uint64_t count = 0;

}  // namespace

uint64_t allocations() { return count; }

}  // namespace sluice::test

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)

// The sanitizers have allocators of their own, and call this one for each allocation. It must not
// be instrumented: the first calls come before the sanitizer is ready.
extern "C" __attribute__((disable_sanitizer_instrumentation)) void __sanitizer_malloc_hook(
    const volatile void*, size_t) {
  ++sluice::test::count;
}

#else

namespace sluice::test {
namespace {

void* allocate(size_t bytes) noexcept {
  ++count;
  return std::malloc(bytes != 0 ? bytes : 1);
}

void* allocate(size_t bytes, std::align_val_t alignment) noexcept {
  ++count;
  void* place = nullptr;
  return posix_memalign(&place, static_cast<size_t>(alignment), bytes) == 0 ? place : nullptr;
}

void* or_throw(void* place) {
  if (place == nullptr) throw std::bad_alloc();
  return place;
}

}  // namespace
}  // namespace sluice::test

// All forms, so that `new` and `delete` stay a pair.
void* operator new(size_t bytes) { return sluice::test::or_throw(sluice::test::allocate(bytes)); }
void* operator new[](size_t bytes) { return sluice::test::or_throw(sluice::test::allocate(bytes)); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return sluice::test::allocate(bytes);
}
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept {
  return sluice::test::allocate(bytes);
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  return sluice::test::or_throw(sluice::test::allocate(bytes, alignment));
}
void* operator new[](size_t bytes, std::align_val_t alignment) {
  return sluice::test::or_throw(sluice::test::allocate(bytes, alignment));
}
void* operator new(size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return sluice::test::allocate(bytes, alignment);
}
void* operator new[](size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return sluice::test::allocate(bytes, alignment);
}
void operator delete(void* place) noexcept { std::free(place); }
void operator delete[](void* place) noexcept { std::free(place); }
void operator delete(void* place, size_t) noexcept { std::free(place); }
void operator delete[](void* place, size_t) noexcept { std::free(place); }
void operator delete(void* place, std::align_val_t) noexcept { std::free(place); }
void operator delete[](void* place, std::align_val_t) noexcept { std::free(place); }
void operator delete(void* place, size_t, std::align_val_t) noexcept { std::free(place); }
void operator delete[](void* place, size_t, std::align_val_t) noexcept { std::free(place); }
void operator delete(void* place, const std::nothrow_t&) noexcept { std::free(place); }
void operator delete[](void* place, const std::nothrow_t&) noexcept { std::free(place); }

#endif
