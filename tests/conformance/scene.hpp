// Scene: a program that makes one request of a device, and a server that serves it by lending, on
// each kind of provider:
//
//   class Copies final : public Server {
//     Task serve(Request& request) override { ... lends through provider() ... }
//   };
//   TEST_P(OnEachProvider, S14_MovesAllBytes) {
//     auto& server = serve_with<Copies>(file);
//     ASSERT_EQ(write(offset, bytes), 0);
//   }
//
// If the device is the kernel's, the program is another process (tests/support/client.hpp). The
// server runs on the device's own thread; between requests the test's thread may inspect it.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "frontend/direct/device.hpp"
#include "frontend/session.hpp"
#include "lend/provider.hpp"
#include "support/client.hpp"
#include "target/stack.hpp"

namespace sluice::test {

enum class Kind : uint8_t {
  direct,        // memory of this process
  direct_fixed,  // the same, registered with the ring
  fuse,          // pages in pipes: a FUSE file on the data path splice
  ublk,          // the request's own pages, registered before it is delivered (AUTO_BUF_REG)
  ublk_by_hand,  // the same, registered by command
};
std::string to_string(Kind kind);
std::vector<Kind> kinds_here();

// Serves the program's requests. Other requests, and those before the test starts, read as zeroes:
// a kernel may search for partitions at any time.
class Server : public Target {
 public:
  static constexpr uint64_t kSizeBytes = 64 << 20;

  Server();
  void arm() { armed_.store(true); }
  // From now on serves only this range, in one request if it may be so long.
  void expect(uint64_t offset, uint64_t length) {
    begin_.store(offset);
    length_.store(length);
  }
  // Makes the effects of serving visible to the test once a request of the program has ended: if
  // the kernel is between the two threads, nothing else orders them.
  void look() const { (void)served_.load(); }
  lend::Provider& provider() { return provider_; }

 protected:
  // The request can be lent by name while this runs: lend::Provider::position(request).
  virtual Task serve(Request& request) = 0;

 private:
  Task do_submit(Request& request) final;
  bool is_expected(const Request& request) const;

  std::atomic<bool> armed_ = false;
  std::atomic<uint64_t> served_ = 0;
  std::atomic<uint64_t> begin_ = 0;
  std::atomic<uint64_t> length_ = kSizeBytes;
  lend::Provider provider_;
};

class OnEachProvider : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override;
  void TearDown() override;

  template <typename S, typename... Arguments>
  S& serve_with(Arguments&&... arguments) {
    auto server = std::make_unique<S>(std::forward<Arguments>(arguments)...);
    S& served = *server;
    open(std::move(server));
    return served;
  }

  // The program's memory, at most Client::kBytes; `fill` writes a pattern that names each byte.
  std::span<std::byte> memory(size_t bytes, bool fill = false);
  // One request of the program on its memory: 0 or the errno that it gets. At least 64 KiB in whole
  // pages are lent in pipes by FUSE; what is smaller is lent as memory there.
  int write(uint64_t offset, size_t bytes);
  int read(uint64_t offset, size_t bytes);
  int flush();
  // The same by a separate program, made before the device; not if the device is in this process.
  int write_by(const Client& program, uint64_t offset, size_t bytes);

  // Copied by the server since then, in all queues.
  uint64_t copied_bytes() const;
  Kind kind() const { return GetParam(); }
  // Whether the ring has submitted `wanted` operations for a request. On FUSE another tag may begin
  // to read the next request meanwhile.
  bool are_its_own(uint64_t submissions, uint64_t wanted) const {
    return submissions == wanted || (kind() == Kind::fuse && submissions == wanted + 1);
  }
  // The path that a program opens.
  std::string path() const { return session_->frontend().path(); }
  bool addressable() const { return kind() == Kind::direct || kind() == Kind::direct_fixed; }

 private:
  void open(std::unique_ptr<Server> server);
  int seen(int error) const;
  uint64_t count_copied() const;
  void open_device();
  Result<std::unique_ptr<Frontend>> make_frontend();

  std::optional<Client> client_;
  std::vector<std::byte> memory_;  // of a program in this process
  Server* server_ = nullptr;
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<direct::Device> direct_;
  std::unique_ptr<Session<>> session_;
  std::string folder_;
  uint64_t copied_before_ = 0;
};

// True if each operation is one submission: kernel threads move pages in pipes.
class OnEachWithoutPipes : public OnEachProvider {};

// True if the program is another process than the server.
class OnEachOfTheKernel : public OnEachProvider {};

// The byte that fills position `position` of a program's memory or of a test's file.
std::byte pattern(uint64_t position);
// Memory full of the pattern, starting at `position`.
std::vector<std::byte> patterned(size_t bytes, uint64_t position = 0);
bool has_pattern(std::span<const std::byte> bytes, uint64_t position = 0);

// A file in memory, full of the pattern, or empty.
Descriptor make_file(size_t bytes, bool fill);
std::vector<std::byte> contents(const Descriptor& file, size_t bytes, uint64_t offset = 0);
inline File as_file(const Descriptor& descriptor) { return {.number = descriptor.number()}; }

}  // namespace sluice::test
