// Image: an open image, with its own connection to the cluster.
//
// open(), close() and all functions that are not said to be quick may block, each for some times
// the timeout; they are called by threads that nobody has to wait for (target/rbd/aside.hpp).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "core/error.hpp"
#include "core/extents.hpp"
#include "core/status.hpp"
#include "target/rbd/libraries.hpp"
#include "target/rbd/options.hpp"

namespace sluice::rbd {

class Image {
 public:
  enum class Access : uint8_t {
    read,       // no lock, and no writes
    shared,     // the lock, if the image has one, is passed on to others that ask for it
    exclusive,  // the lock is kept
  };
  struct Facts {
    std::string id;
    uint64_t size_bytes = 0;
    uint64_t object_bytes = 0;
    bool has_object_map = false;  // so that it is quickly known which objects exist
  };
  // Descriptors of ClusterFiles.
  struct Files {
    int conf = -1;
    int keyring = -1;
  };

  // Errors with a sentence. EBUSY: another client has the lock.
  static Result<std::unique_ptr<Image>> open(const Library& library, const Options& options,
                                             Files files, Access access);
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;
  ~Image();

  const Facts& facts() const { return facts_; }
  rbd_image_t handle() const { return image_; }

  // The present size. ESHUTDOWN: the cluster has shut this client out.
  Result<uint64_t> size();
  // Whether the exclusive lock is ours, as the cluster says. An error: it does not say.
  Result<bool> has_lock();
  Result<void> grow(uint64_t bytes);
  // Which objects exist in the range; the others are holes.
  Status find_extents(uint64_t offset, uint64_t length, Extents& found);

  // Quick. How long the cluster may take for what is asked from now on.
  void set_timeout(std::chrono::seconds timeout);
  // Calls `notice` with `argument` when something about the image has changed, on a thread
  // of the library, until end_watch() has returned.
  Result<void> watch(void (*notice)(void*), void* argument);
  void end_watch();

 private:
  explicit Image(const Library& library) : library_(library) {}
  Result<void> connect(const Options& options, Files files);
  Result<void> open_image(const Options& options, Access access);
  Result<void> look(const Options& options);
  Result<void> lock(const Options& options);
  std::string owner() const;
  void set(const char* option, const std::string& value);

  const Library& library_;
  rados_t cluster_ = nullptr;
  rados_ioctx_t pool_ = nullptr;
  rbd_image_t image_ = nullptr;
  bool is_watched_ = false;
  uint64_t watch_ = 0;
  Facts facts_;
};

}  // namespace sluice::rbd
