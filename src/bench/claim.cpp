#include "bench/claim.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>

#include "bench/usage.hpp"
#include "core/buffer.hpp"
#include "core/private_loan.hpp"
#include "frontend/direct/queue.hpp"
#include "ring/kernel_ring.hpp"
#include "target/registry.hpp"

namespace sluice::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kSizes[] = {64 << 10, 512 << 10};

// Serves a stack's requests with a copy of the data in its own memory.
class Copies final : public Target {
 public:
  Copies(Stack& inner, uint32_t bytes)
      : inner_(inner), bytes_(bytes), memory_(size_t{bytes} * kClaimDepth) {
    geometry_ = inner.geometry();
  }

 private:
  Task do_submit(Request& request) override {
    const auto own = memory_.bytes().subspan(size_t{request.tag} * bytes_, request.data.length());
    const bool reads = request.op == Op::read;
    if (!reads) {
      auto copying = request.ring->copy_out(request.data, own);
      const Status copied = co_await copying;
      if (!copied.ok()) co_return copied;
    }
    Status status;
    {
      PrivateLoan loan(reads ? Direction::destination : Direction::source, own);
      Request part = request.child(request.offset, loan.view());
      Task serving = inner_.submit(part);
      status = co_await serving;
    }
    if (!status.ok() || !reads) co_return status;
    auto copying = request.ring->copy_in(request.data, own);
    co_return co_await copying;
  }

  Stack& inner_;
  const uint32_t bytes_;
  Buffer memory_;
};

// A client that always has one request in flight; together the requests are at consecutive offsets.
class ClaimClient final : public direct::Io {
 public:
  ClaimClient(const ClaimCell& cell, uint16_t number, uint64_t size_bytes)
      : memory_(cell.bytes), size_bytes_(size_bytes) {
    std::ranges::fill(memory_.bytes(), static_cast<std::byte>(number + 1));
    op = cell.op;
    offset = uint64_t{number} * cell.bytes;
    memory = memory_.bytes();
  }

  void start(direct::Queue& queue, Clock::time_point end) {
    queue_ = &queue;
    end_ = end;
    running_ = true;
    queue.submit(*this);
  }
  void done(Status status) noexcept override {
    failed_ = failed_ || !status.ok();
    ++served_;
    offset = (offset + uint64_t{kClaimDepth} * memory.size()) % size_bytes_;
    running_ = !failed_ && Clock::now() < end_;
    if (running_) queue_->submit(*this);
  }

  bool running() const { return running_; }
  bool failed() const { return failed_; }
  uint64_t served() const { return served_; }

 private:
  Buffer memory_;
  const uint64_t size_bytes_;
  direct::Queue* queue_ = nullptr;
  Clock::time_point end_;
  bool running_ = false;
  bool failed_ = false;
  uint64_t served_ = 0;
};

// A listener that does nothing: this program ends the queue itself.
class Bystander final : public QueueListener {
 public:
  void finished() override {}
};

Result<void> run_once(Stack& loop, const Plan& plan, ClaimCell& cell) {
  const std::vector<int> files = file_table(loop.registered_files());
  auto ring = KernelRing::create({.files = files});
  if (!ring) return std::unexpected(ring.error());
  Stack copying(std::make_unique<Copies>(loop, cell.bytes));
  Bystander bystander;
  direct::Queue queue({.id = 0, .depth = kClaimDepth}, **ring, cell.copies ? copying : loop,
                      bystander);
  if (auto started = queue.start(-1); !started) return started;
  const uint64_t slots = loop.geometry().size_bytes / cell.bytes / kClaimDepth;
  std::deque<ClaimClient> clients;
  for (uint16_t i = 0; i < kClaimDepth; ++i) {
    clients.emplace_back(cell, i, slots * kClaimDepth * cell.bytes);
  }
  const double cpu_before = cpu_seconds(RUSAGE_THREAD);
  const auto begun = Clock::now();
  for (ClaimClient& client : clients)
    client.start(queue, begun + std::chrono::milliseconds(plan.milliseconds));
  while (std::ranges::any_of(clients, &ClaimClient::running)) (*ring)->run_once(true);
  const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  const double cpu = cpu_seconds(RUSAGE_THREAD) - cpu_before;
  uint64_t served = 0;
  for (const ClaimClient& client : clients) {
    if (client.failed()) return fail(EIO, "a request on the file failed: see the log above");
    served += client.served();
  }
  const double mib = static_cast<double>(served) * cell.bytes / kMib;
  cell.mib_per_s.push_back(mib / seconds);
  cell.cpu_s_per_gib.push_back(cpu / (mib / 1024));
  cell.copied_bytes_per_io =
      static_cast<double>((*ring)->counters().copied_bytes) / static_cast<double>(served);
  return {};
}

std::vector<ClaimCell> all_cells() {
  std::vector<ClaimCell> cells;
  for (const uint32_t bytes : kSizes) {
    for (const Op op : {Op::read, Op::write}) {
      for (const bool copies : {false, true}) {
        cells.push_back({.bytes = bytes, .op = op, .copies = copies});
      }
    }
  }
  return cells;
}

}  // namespace

Result<std::vector<ClaimCell>> run_claim(const Plan& plan, const std::string& path,
                                         const std::function<void(const std::string&)>& progress) {
  Spec spec{.target = "loop"};
  spec.set("file", path);
  auto stack = Stack::open(spec, false);
  if (!stack) return std::unexpected(stack.error());
  std::vector<ClaimCell> cells = all_cells();
  if ((*stack)->geometry().size_bytes < uint64_t{kClaimDepth} * kSizes[1]) {
    return fail(EINVAL, fmt::format("{} is too small to measure: it needs at least {} MiB", path,
                                    kClaimDepth * kSizes[1] >> 20));
  }
  for (uint32_t run = 0; run < plan.runs; ++run) {
    progress(fmt::format("run {} of {}", run + 1, plan.runs));
    for (size_t i = 0; i < cells.size(); ++i) {
      auto done = run_once(**stack, plan, cells[(i + run) % cells.size()]);
      if (!done) return std::unexpected(done.error());
    }
  }
  return cells;
}

std::string claim_text(const std::vector<ClaimCell>& cells) {
  std::string text =
      "The file through the loop target and the front end in this process: medians\n\n"
      "                      |   MiB/s | CPU, s/GiB | copied bytes per request\n";
  for (const ClaimCell& cell : cells) {
    const std::string kind = fmt::format("{:>4}K {}, {}", cell.bytes >> 10, to_string(cell.op),
                                         cell.copies ? "copied" : "lent");
    text += fmt::format("{:<21} | {:>7.0f} | {:>10.3f} | {:>24.0f}\n", kind, median(cell.mib_per_s),
                        median(cell.cpu_s_per_gib), cell.copied_bytes_per_io);
  }
  return text;
}

JsonValue claim_json(const std::vector<ClaimCell>& cells) {
  JsonValue json = JsonValue::array();
  for (const ClaimCell& cell : cells) {
    json.push_back({{"bytes", cell.bytes},
                    {"direction", to_string(cell.op)},
                    {"column", cell.copies ? "copied" : "lent"},
                    {"mib_per_s", cell.mib_per_s},
                    {"cpu_s_per_gib", cell.cpu_s_per_gib},
                    {"copied_bytes_per_io", cell.copied_bytes_per_io}});
  }
  return json;
}

}  // namespace sluice::bench
