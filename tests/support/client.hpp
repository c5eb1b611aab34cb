// Client: another program that uses a block device which the test itself serves.
//
// Reads and writes without the page cache, in a separate process: if the test dies, none of its
// threads waits in the kernel for an answer that only the test could give. Made before any devices
// and rings, which that process must not inherit. One request at a time, from one thread.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace sluice::test {

class Client {
 public:
  static constexpr size_t kBytes = 1 << 20;  // the longest request

  Client()
      : place_(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return;
    child_ = fork();
    close(ends[child_ == 0 ? 0 : 1]);
    socket_ = ends[child_ == 0 ? 1 : 0];
    if (child_ == 0) _exit(answer());
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() {
    close(socket_);
    waitpid(child_, nullptr, 0);
    munmap(place_, kBytes);
  }

  // Ends its process; later calls return EPIPE. Any thread.
  void kill() const { ::kill(child_, SIGKILL); }

  // Shared with the process that makes the request.
  std::span<std::byte> memory(size_t bytes) const {
    return {static_cast<std::byte*>(place_), bytes};
  }

  // 0 or an errno; a short transfer is ENODATA.
  int read(const std::string& path, uint64_t offset, size_t bytes) const {
    return ask(path, {.what = What::read, .offset = offset, .bytes = bytes});
  }
  int write(const std::string& path, uint64_t offset, size_t bytes) const {
    return ask(path, {.what = What::write, .offset = offset, .bytes = bytes});
  }
  int flush(const std::string& path) const {
    return ask(path, {.what = What::flush, .offset = 0, .bytes = 0});
  }

 private:
  enum class What : uint8_t { read, write, flush };
  struct Question {
    What what = What::read;
    uint64_t offset = 0;
    size_t bytes = 0;
    std::array<char, 64> path{};
  };

  int ask(const std::string& path, Question question) const {
    path.copy(question.path.data(), question.path.size() - 1);
    int result = EPIPE;
    send(socket_, &question, sizeof(question), MSG_NOSIGNAL);
    recv(socket_, &result, sizeof(result), 0);
    return result;
  }

  int answer() const {
    Question question;
    while (recv(socket_, &question, sizeof(question), 0) == sizeof(question)) {
      const int result = transfer(question);
      send(socket_, &result, sizeof(result), MSG_NOSIGNAL);
    }
    return 0;
  }

  int transfer(const Question& question) const {
    const int file = open(question.path.data(), O_RDWR | O_DIRECT);
    if (file < 0) return errno;
    const auto position = static_cast<off_t>(question.offset);
    ssize_t done = 0;
    if (question.what == What::read) done = pread(file, place_, question.bytes, position);
    if (question.what == What::write) done = pwrite(file, place_, question.bytes, position);
    if (question.what == What::flush) done = fsync(file);
    const int error = done < 0 ? errno : 0;
    close(file);
    return error == 0 && static_cast<size_t>(done) != question.bytes ? ENODATA : error;
  }

  void* const place_;
  pid_t child_ = -1;
  int socket_ = -1;
};

}  // namespace sluice::test
