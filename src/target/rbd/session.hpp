// Session: an image while it is served, with a thread that notices when its size changes or its
// lock is lost.
//
// Opening and closing may block: see Image.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "core/geometry.hpp"
#include "ring/offload.hpp"
#include "target/rbd/image.hpp"
#include "target/rbd/state.hpp"

namespace sluice::rbd {

class Session {
 public:
  static Result<std::unique_ptr<Session>> open(const Library& library, Image::Files files,
                                               Image::Access access, std::shared_ptr<State> state);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  Image& image() { return *image_; }
  // For calls of requests that block.
  Offload& offload() { return *offload_; }
  // The size of the device, that the image must not fall below. Until then: the first size.
  void serve(uint64_t bytes);
  // Looks at the image. ESHUTDOWN ...: it can no longer be used.
  Status look();

 private:
  Session(std::unique_ptr<Image> image, Image::Access access, std::shared_ptr<State> state)
      : image_(std::move(image)), access_(access), state_(std::move(state)) {}
  Result<void> begin();
  void keep_looking();
  void wake();
  Status judge(const Error& error);

  const std::unique_ptr<Image> image_;
  const Image::Access access_;
  const std::shared_ptr<State> state_;
  std::unique_ptr<Offload> offload_;
  std::mutex mutex_;  // guards what is up to `thread_`
  std::condition_variable changed_;
  bool has_news_ = false;
  bool over_ = false;
  uint64_t served_bytes_ = 0;
  std::thread thread_;
};

}  // namespace sluice::rbd
