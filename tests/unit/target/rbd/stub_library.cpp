#include "unit/target/rbd/stub_library.hpp"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

namespace sluice::test {
namespace {

StubLibrary* the_stub = nullptr;

// What an rbd_completion_t points to.
struct StubCompletion {
  void* argument;
  rbd_callback_t callback;
  ssize_t result = 0;
};

}  // namespace

struct StubCalls {
  static StubLibrary& stub() { return *the_stub; }

  static int open(const char* function, void** handle) {
    const int result = stub().enter(function);
    if (result < 0) return result;
    const std::scoped_lock guard(stub().mutex_);
    ++stub().open_;
    *handle = &stub();
    return 0;
  }
  static void close(const char* function) {
    stub().enter(function);
    const std::scoped_lock guard(stub().mutex_);
    --stub().open_;
  }

  static int create(rados_t* cluster, const char*) { return open("rados_create", cluster); }
  static int conf_read_file(rados_t, const char*) { return stub().enter("rados_conf_read_file"); }
  static int conf_set(rados_t, const char* name, const char* value) {
    const std::scoped_lock guard(stub().mutex_);
    stub().options_[name] = value;
    return 0;
  }
  static int conf_get(rados_t, const char*, char* text, size_t) {
    *text = '\0';
    return 0;
  }
  static int connect(rados_t) { return stub().enter("rados_connect"); }
  static void shutdown(rados_t) { close("rados_shutdown"); }
  static int ioctx_create(rados_t, const char*, rados_ioctx_t* pool) {
    return open("rados_ioctx_create", pool);
  }
  static void ioctx_destroy(rados_ioctx_t) { close("rados_ioctx_destroy"); }
  static void set_namespace(rados_ioctx_t, const char*) {}

  static int open_image(rados_ioctx_t, const char*, rbd_image_t* image, const char*) {
    return open("rbd_open", image);
  }
  static int open_read_only(rados_ioctx_t, const char*, rbd_image_t* image, const char*) {
    return open("rbd_open_read_only", image);
  }
  static int close_image(rbd_image_t) {
    close("rbd_close");
    return 0;
  }
  static int image_stat(rbd_image_t, rbd_image_info_t* info, size_t) {
    const int result = stub().enter("rbd_stat");
    const std::scoped_lock guard(stub().mutex_);
    info->size = stub().image_.size();
    info->obj_size = stub().object_bytes;
    return result;
  }
  static int get_size(rbd_image_t, uint64_t* size) {
    const int result = stub().enter("rbd_get_size");
    const std::scoped_lock guard(stub().mutex_);
    *size = stub().image_.size();
    return result;
  }
  static int get_features(rbd_image_t, uint64_t* features) {
    *features = stub().features;
    return stub().enter("rbd_get_features");
  }
  static int get_id(rbd_image_t, char* id, size_t) {
    std::strcpy(id, stub().id.c_str());
    return 0;
  }
  static int resize(rbd_image_t, uint64_t size, bool, librbd_progress_fn_t, void*) {
    const int result = stub().enter("rbd_resize2");
    if (result == 0) stub().change_size(size);
    return result;
  }
  static int lock_acquire(rbd_image_t, rbd_lock_mode_t) {
    const int result = stub().enter("rbd_lock_acquire");
    const std::scoped_lock guard(stub().mutex_);
    stub().locked_ = result == 0;
    return result;
  }
  static int get_owners(rbd_image_t, rbd_lock_mode_t*, char** owners, size_t* count) {
    owners[0] = strdup("client.7 at 10.0.0.7");
    *count = 1;
    return 0;
  }
  static void clean_owners(char** owners, size_t) { free(owners[0]); }
  static int is_owner(rbd_image_t, int* is) {
    const std::scoped_lock guard(stub().mutex_);
    *is = stub().locked_ ? 1 : 0;
    return 0;
  }
  static int update_watch(rbd_image_t, uint64_t* handle, rbd_update_callback_t notice,
                          void* argument) {
    const int result = stub().enter("rbd_update_watch");
    if (result < 0) return result;
    const std::scoped_lock guard(stub().mutex_);
    *handle = 1;
    ++stub().open_;
    stub().notice_ = notice;
    stub().notice_argument_ = argument;
    return 0;
  }
  static int update_unwatch(rbd_image_t, uint64_t) {
    close("rbd_update_unwatch");
    const std::scoped_lock guard(stub().mutex_);
    stub().notice_ = nullptr;
    return 0;
  }
  static int diff(rbd_image_t, const char*, uint64_t offset, uint64_t length, uint8_t, uint8_t,
                  int (*found)(uint64_t, size_t, int, void*), void* argument) {
    if (const int result = stub().enter("rbd_diff_iterate2"); result < 0) return result;
    constexpr uint64_t kUnit = 64 << 10;
    for (uint64_t at = offset; at < offset + length; at += kUnit) {
      const auto begin = stub().image_.begin() + static_cast<ptrdiff_t>(at);
      const size_t bytes = std::min(kUnit, offset + length - at);
      const bool exists = std::any_of(begin, begin + static_cast<ptrdiff_t>(bytes),
                                      [](std::byte each) { return each != std::byte{0}; });
      if (!exists) continue;
      if (const int result = found(at, bytes, 1, argument); result < 0) return result;
    }
    return 0;
  }

  static int create_completion(void* argument, rbd_callback_t callback, rbd_completion_t* made) {
    if (const int result = stub().enter("rbd_aio_create_completion"); result < 0) return result;
    const std::scoped_lock guard(stub().mutex_);
    ++stub().open_;
    *made = new StubCompletion{.argument = argument, .callback = callback};
    return 0;
  }
  static ssize_t return_value(rbd_completion_t handle) {
    return static_cast<StubCompletion*>(handle)->result;
  }
  static void release(rbd_completion_t handle) {
    close("rbd_aio_release");
    delete static_cast<StubCompletion*>(handle);
  }

  // Ends on another thread, as in the library.
  template <typename Work>
  static int begin(const char* function, rbd_completion_t handle, Work work) {
    const int result = stub().enter(function);
    std::thread([result, handle, work] {
      auto* const completion = static_cast<StubCompletion*>(handle);
      {
        std::unique_lock lock(stub().mutex_);
        stub().changed_.wait(lock, [] { return !stub().held_; });
        completion->result = result < 0 ? result : work(stub().image_);
      }
      completion->callback(handle, completion->argument);
    }).detach();
    return 0;
  }
  // Like the library, it cuts off what is beyond the end.
  template <bool kRead>
  static ssize_t move(std::vector<std::byte>& image, const std::vector<iovec>& parts,
                      uint64_t offset) {
    ssize_t moved = 0;
    for (const iovec& part : parts) {
      const size_t bytes = std::min(part.iov_len, image.size() - std::min(image.size(), offset));
      if (kRead) {
        std::memcpy(part.iov_base, image.data() + offset, bytes);
      } else {
        std::memcpy(image.data() + offset, part.iov_base, bytes);
      }
      offset += bytes;
      moved += static_cast<ssize_t>(bytes);
    }
    return kRead ? moved : 0;
  }
  static int readv(rbd_image_t, const iovec* list, int count, uint64_t offset,
                   rbd_completion_t handle) {
    return begin("rbd_aio_readv", handle,
                 [parts = std::vector(list, list + count), offset](std::vector<std::byte>& image) {
                   return move<true>(image, parts, offset);
                 });
  }
  static int writev(rbd_image_t, const iovec* list, int count, uint64_t offset,
                    rbd_completion_t handle) {
    return begin("rbd_aio_writev", handle,
                 [parts = std::vector(list, list + count), offset](std::vector<std::byte>& image) {
                   return move<false>(image, parts, offset);
                 });
  }
  static ssize_t clear(std::vector<std::byte>& image, uint64_t offset, uint64_t length) {
    std::fill_n(image.begin() + static_cast<ptrdiff_t>(offset), length, std::byte{0});
    return 0;
  }
  static int discard(rbd_image_t, uint64_t offset, uint64_t length, rbd_completion_t handle) {
    return begin("rbd_aio_discard", handle,
                 [=](std::vector<std::byte>& image) { return clear(image, offset, length); });
  }
  static int write_zeroes(rbd_image_t, uint64_t offset, size_t length, rbd_completion_t handle,
                          int flags, int) {
    if (flags != 0) stub().enter("thick");
    return begin("rbd_aio_write_zeroes", handle,
                 [=](std::vector<std::byte>& image) { return clear(image, offset, length); });
  }
  static int flush(rbd_image_t, rbd_completion_t handle) {
    return begin("rbd_aio_flush", handle, [](std::vector<std::byte>&) { return ssize_t{0}; });
  }
};

StubLibrary::StubLibrary(size_t bytes) : image_(bytes) {
  assert(the_stub == nullptr);
  the_stub = this;
  table = {.rados_create = StubCalls::create,
           .rados_conf_read_file = StubCalls::conf_read_file,
           .rados_conf_set = StubCalls::conf_set,
           .rados_conf_get = StubCalls::conf_get,
           .rados_connect = StubCalls::connect,
           .rados_shutdown = StubCalls::shutdown,
           .rados_ioctx_create = StubCalls::ioctx_create,
           .rados_ioctx_destroy = StubCalls::ioctx_destroy,
           .rados_ioctx_set_namespace = StubCalls::set_namespace,
           .rbd_open = StubCalls::open_image,
           .rbd_open_read_only = StubCalls::open_read_only,
           .rbd_close = StubCalls::close_image,
           .rbd_stat = StubCalls::image_stat,
           .rbd_get_size = StubCalls::get_size,
           .rbd_get_features = StubCalls::get_features,
           .rbd_get_id = StubCalls::get_id,
           .rbd_resize2 = StubCalls::resize,
           .rbd_lock_acquire = StubCalls::lock_acquire,
           .rbd_lock_get_owners = StubCalls::get_owners,
           .rbd_lock_get_owners_cleanup = StubCalls::clean_owners,
           .rbd_is_exclusive_lock_owner = StubCalls::is_owner,
           .rbd_update_watch = StubCalls::update_watch,
           .rbd_update_unwatch = StubCalls::update_unwatch,
           .rbd_diff_iterate2 = StubCalls::diff,
           .rbd_aio_readv = StubCalls::readv,
           .rbd_aio_writev = StubCalls::writev,
           .rbd_aio_discard = StubCalls::discard,
           .rbd_aio_write_zeroes = StubCalls::write_zeroes,
           .rbd_aio_flush = StubCalls::flush,
           .rbd_aio_create_completion = StubCalls::create_completion,
           .rbd_aio_get_return_value = StubCalls::return_value,
           .rbd_aio_release = StubCalls::release};
}

StubLibrary::~StubLibrary() { the_stub = nullptr; }

int StubLibrary::enter(const std::string& function) {
  std::unique_lock lock(mutex_);
  ++calls_[function];
  const auto delay = delays_.find(function);
  if (delay != delays_.end()) {
    const auto time = delay->second;
    lock.unlock();
    std::this_thread::sleep_for(time);
    lock.lock();
  }
  const auto result = results_.find(function);
  return result == results_.end() ? 0 : result->second;
}

void StubLibrary::set_result(const std::string& function, int result) {
  const std::scoped_lock guard(mutex_);
  results_[function] = result;
}

void StubLibrary::set_delay(const std::string& function, std::chrono::milliseconds delay) {
  const std::scoped_lock guard(mutex_);
  delays_[function] = delay;
}

void StubLibrary::hold() {
  const std::scoped_lock guard(mutex_);
  held_ = true;
}

void StubLibrary::release() {
  const std::scoped_lock guard(mutex_);
  held_ = false;
  changed_.notify_all();
}

void StubLibrary::change_size(size_t bytes) {
  rbd_update_callback_t notice = nullptr;
  void* argument = nullptr;
  {
    const std::scoped_lock guard(mutex_);
    image_.resize(bytes);
    notice = notice_;
    argument = notice_argument_;
  }
  if (notice != nullptr) notice(argument);
}

void StubLibrary::take_lock() {
  const std::scoped_lock guard(mutex_);
  locked_ = false;
}

int StubLibrary::calls(const std::string& function) const {
  const std::scoped_lock guard(mutex_);
  const auto found = calls_.find(function);
  return found == calls_.end() ? 0 : found->second;
}

int StubLibrary::open_handles() const {
  const std::scoped_lock guard(mutex_);
  return open_;
}

std::string StubLibrary::option(const std::string& name) const {
  const std::scoped_lock guard(mutex_);
  const auto found = options_.find(name);
  return found == options_.end() ? "" : found->second;
}

}  // namespace sluice::test
