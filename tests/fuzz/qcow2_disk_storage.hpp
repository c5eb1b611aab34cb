// Memory: a file in memory for qcow2_disk_fuzz, whose requests wait until they are let go, in any
// order. It knows which clusters are not for the data of guests. A target opens it as OpenedMemory.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/descriptor.hpp"
#include "core/error.hpp"
#include "qcow2_disk_pages.hpp"
#include "ring/file_slot.hpp"
#include "ring/ring.hpp"
#include "target/target.hpp"

namespace sluice::fuzz {

class Memory final : public Target {
 public:
  Memory(Waiting& waiting, const Pages& pages, std::span<const std::byte> contents, bool grows)
      : waiting_(waiting),
        pages_(pages),
        grows_(grows),
        identity_(memfd_create("memory", MFD_CLOEXEC)) {
    pages_.clear();
    std::ranges::copy(contents, pages_.all().begin());
    geometry_.size_bytes = contents.size();
    geometry_.volatile_cache = true;
    geometry_.can_discard = true;
    geometry_.can_write_zeroes = true;
  }

  uint64_t failing_write = 0;  // this one of the writes fails; 0: none does

  // Another open file, which is known to be this one.
  Descriptor open() const {
    const std::string path = "/proc/self/fd/" + std::to_string(identity_.number());
    return Descriptor(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  }

  // From now on these are neither discarded nor cleared.
  void protect(uint64_t offset, uint64_t bytes) { protected_.emplace_back(offset, bytes); }
  void forget() { protected_.clear(); }
  std::span<const std::byte> bytes() const { return pages_.all().first(geometry_.size_bytes); }

 private:
  struct Pause {
    Waiting& waiting;
    bool await_ready() const { return !waiting.waits; }
    void await_suspend(std::coroutine_handle<> coroutine) const { waiting.add(coroutine); }
    void await_resume() const {}
  };

  Task do_submit(Request& request) override {
    Pause pause{waiting_};
    co_await pause;
    if (request.changes_data() && ++writes_ == failing_write) {
      co_return Status::from_errno(ENOSPC);
    }
    switch (request.op) {
      case Op::read: {
        auto reading = request.ring->copy_in(request.data, part(request));
        co_return co_await reading;
      }
      case Op::write: {
        auto writing = request.ring->copy_out(request.data, part(request));
        co_return co_await writing;
      }
      case Op::discard:
      case Op::write_zeroes:
        clear(request);
        co_return kOk;
      default:
        co_return kOk;
    }
  }

  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override {
    const uint64_t size = wanted.value_or(geometry_.size_bytes);
    if (grows_ && size <= kMemoryBytes) return size;
    return fail(grows_ ? ENOSPC : EOPNOTSUPP, "there is no more memory");
  }

  std::span<std::byte> part(const Request& request) const {
    return pages_.all().subspan(request.offset, request.length);
  }
  void clear(const Request& request) const {
    for (const auto& [offset, bytes] : protected_) {
      require(request.offset >= offset + bytes || offset >= request.offset + request.length,
              "metadata is cleared");
    }
    std::ranges::fill(part(request), std::byte{0});
  }

  Waiting& waiting_;
  const Pages& pages_;
  const bool grows_;
  const Descriptor identity_;
  uint64_t writes_ = 0;
  std::vector<std::pair<uint64_t, uint64_t>> protected_;
};

class OpenedMemory final : public Target {
 public:
  OpenedMemory(Memory& memory, bool writable) : memory_(memory) {
    geometry_ = memory.geometry();
    geometry_.read_only = !writable;
    std::vector<OpenFile> files;
    files.push_back({.descriptor = memory.open(), .slot = FileSlot()});
    own(std::move(files));
  }

 private:
  Task do_submit(Request& request) override { return memory_.submit(request); }
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override {
    return memory_.resize(wanted);
  }

  Memory& memory_;
};

}  // namespace sluice::fuzz
