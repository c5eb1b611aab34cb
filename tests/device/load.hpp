// Load: fio writes to a device and verifies the data, in a separate process.
//
// Made before any devices and rings, which that process must not inherit.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

namespace sluice::test {

class Load {
 public:
  explicit Load(std::string log) : log_(std::move(log)) {
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) return;
    child_ = fork();
    start_ = ends[1];
    if (child_ == 0) {
      close(ends[1]);
      wait_and_run(ends[0]);
    }
    close(ends[0]);
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  ~Load() {
    if (child_ > 0) finish();
    close(start_);
  }

  // Writes to the first `bytes` of the device until finish(). Returns after the first writes.
  void start(const std::string& path, uint64_t bytes) {
    name_ = path.substr(path.rfind('/') + 1);
    const std::string options = fmt::format("--filename={} --size={}", path, bytes);
    EXPECT_EQ(write(start_, options.data(), options.size()), static_cast<ssize_t>(options.size()));
    expect_progress();
  }

  // Waits for a hundred more writes.
  void expect_progress() const {
    const uint64_t before = writes();
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (writes() < before + 100) {
      ASSERT_LT(std::chrono::steady_clock::now(), give_up) << "no writes any more";
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  // Returns the output of fio if a request has failed, else "".
  std::string finish() {
    kill(child_, SIGINT);  // fio ends by itself, and reports
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    std::ostringstream text;
    text << std::ifstream(log_).rdbuf();
    const bool clean = text.str().find("err= 0") != std::string::npos;
    return clean ? "" : fmt::format("status {}: {}", status, text.str());
  }

 private:
  [[noreturn]] void wait_and_run(int from) const {
    std::array<char, 256> options{};
    if (read(from, options.data(), options.size() - 1) <= 0) _exit(0);
    const std::string command = fmt::format(
        "exec fio --name=load {} --direct=1 --ioengine=io_uring --iodepth=64 --rw=randwrite "
        "--bsrange=4k-64k --verify=crc32c --verify_backlog=256 --verify_fatal=1 "
        "--verify_state_save=0 --loops=1000 "
        "--serialize_overlap=1 --output={}",
        options.data(), log_);
    execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    _exit(127);
  }

  uint64_t writes() const {
    std::ifstream stat("/sys/block/" + name_ + "/stat");
    uint64_t number = 0;
    for (int i = 0; i < 5; ++i) stat >> number;  // the fifth field: completed writes
    return number;
  }

  const std::string log_;
  std::string name_;  // of the device
  int start_ = -1;
  pid_t child_ = -1;
};

}  // namespace sluice::test
