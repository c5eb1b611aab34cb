// Serves requests from any bytes as a qcow2 image in memory, several at once, with storage that
// answers in any order: each ends, with success or an errno, a read that succeeds has filled all of
// its memory, and neither data of the guest nor a discard gets into the clusters that hold the
// header, the tables and the refcount blocks when the image is opened. Meanwhile snapshots and
// bitmaps change, and so does the image's place in a chain.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "core/arena.hpp"
#include "core/big_endian.hpp"
#include "core/buffer.hpp"
#include "core/extents.hpp"
#include "qcow2_disk_input.hpp"
#include "qcow2_disk_storage.hpp"
#include "qcow2_disk_verbs.hpp"
#include "ring/kernel_ring.hpp"
#include "target/life/control_reactor.hpp"
#include "target/life/life_call.hpp"
#include "target/qcow2/decompress.hpp"
#include "target/qcow2/qcow2_target.hpp"

namespace {

using namespace sluice;
using namespace sluice::fuzz;
using qcow2::Header;
using qcow2::Qcow2Target;

constexpr uint64_t kGuestData = 0xd74775657374a591;  // nothing else writes this
constexpr uint64_t kRoundsMax = 200000;
constexpr size_t kTagsMax = 4;
constexpr uint64_t kGrownMax = uint64_t{64} << 20;
constexpr uint64_t kCacheBytes = 256 << 10;

// One request in flight, with its memory.
class Tag final : private Lender {
 public:
  Tag(Ring& ring, Op op, uint64_t offset, uint64_t length) : memory_(op_bytes(op, length)) {
    request.op = op;
    request.offset = offset;
    request.length = op == Op::flush ? 0 : length;
    request.ring = &ring;
    request.ready = &ring.ready();
    request.arena = &arena_;
    if (!request.has_data()) return;
    for (uint64_t at = 0; at < length; at += sizeof(kGuestData)) {
      std::memcpy(memory_.bytes().data() + at, &kGuestData, sizeof(kGuestData));
    }
    const auto direction = op == Op::read ? Direction::destination : Direction::source;
    request.data = loan_.lend_mapped(*this, direction, memory_.bytes().first(length));
  }
  ~Tag() { request.data.drop(); }

  void submit(Target& target) { task_.emplace(target.submit(request)); }
  bool ended() const { return task_->finished(); }
  void check() const {
    const Status status = task_->status();
    require(status.error() >= 0 && status.error() < 4096, "an error is no errno");
    require(status.error() != EUCLEAN, "EUCLEAN reaches the client");
    if (request.op != Op::read || !status.ok()) return;
    require(loan_.filled_bytes() == request.length, "a read has not filled its memory");
  }

  Request request;

 private:
  static uint64_t op_bytes(Op op, uint64_t length) {
    return op == Op::read || op == Op::write ? length : 512;
  }
  void returned(Loan&) noexcept override {}

  Buffer memory_;
  Arena arena_;
  Loan loan_;
  std::optional<Task> task_;
};

class Run {
 public:
  Run(const Input& input, Ring& ring, ControlReactor& control)
      : input_(input), ring_(ring), control_(control) {}

  void run() {
    auto header = qcow2::parse_header(input_.image, input_.image.size());
    if (!header || header->has(qcow2::kExternalData)) return;
    if (!qcow2::load_decompressor(header->compression)) return;
    open(*header);
    const bool twice = (input_.flags & kStartsTwice) != 0;
    for (int round = 0; round < (twice ? 2 : 1); ++round) {
      forget_protected();
      if (!start()) return;
      serve();
      stop();
      check_header();
    }
  }

 private:
  void open(const Header& header) {
    static const Pages image_pages;
    static const Pages backing_pages;
    storage_ = std::make_unique<Memory>(waiting_, image_pages, input_.image,
                                        (input_.flags & kCannotGrow) == 0);
    if ((input_.flags & kHasBacking) != 0) {
      const std::vector<std::byte> contents(300 * kSectorBytes, std::byte{0xbb});
      backing_ = std::make_unique<Memory>(waiting_, backing_pages, contents, true);
    }
    const bool of_snapshot = (input_.flags & kOfSnapshot) != 0;
    writable_ = !of_snapshot && (input_.flags & kReadOnly) == 0;
    Qcow2Target::Parts parts{
        .storage = std::make_unique<OpenedMemory>(*storage_, writable_), .data = {}, .backing = {}};
    if (backing_ != nullptr) parts.backing = std::make_unique<OpenedMemory>(*backing_, false);
    auto image = std::make_unique<Qcow2Target>(
        qcow2::Image::Options{.name = std::string(MemoryChain::kImage),
                              .writable = writable_,
                              .cache_bytes = kCacheBytes,
                              .snapshot = of_snapshot ? "1" : "",
                              .has_bitmaps = !of_snapshot},
        header, std::move(parts));
    files_.emplace(waiting_, *storage_, backing_.get());
    verbs_.emplace(ring_, control_, *files_);
    if (!writable_) {
      target_ = std::move(image);
      return;
    }
    Spec spec{.target = "qcow2"};
    spec.set("file", std::string(MemoryChain::kImage));
    spec.set("cache", kCacheBytes);
    auto chain =
        std::make_unique<qcow2::Chain>(spec, std::string(MemoryChain::kImage), std::move(image));
    chain_ = chain.get();
    target_ = std::move(chain);
  }

  bool start() {
    LifeRequest life(ring_);
    LifeCall call{.jobs = &verbs_->jobs(), .control = &control_};
    Task starting = target_->start(life.request, call);
    finish(starting);
    if (!starting.status().ok()) {
      require(!call.why.empty() && call.why.find('\n') == std::string::npos, "no reason is given");
      return false;
    }
    protect();
    before_.assign(storage_->bytes().begin(), storage_->bytes().begin() + kSectorBytes);
    return true;
  }

  void serve() {
    waiting_.waits = true;
    if ((input_.flags & kFailsLater) != 0) storage_->failing_write = 1 + input_.steps.size() * 3;
    for (const Step& step : input_.steps) {
      begin(step);
      const int pause = step.pause % 16 * (step.pause < 128 ? 1 : 32);  // long: for a job
      for (int i = 0; i < pause; ++i) advance(step.choice);
      collect();
      while (tags_.size() >= kTagsMax) {
        advance(step.choice);
        collect();
      }
    }
    drain();
    end_verb();
    waiting_.waits = false;
    recover();
  }

  // What failed before is written once there is space again.
  void recover() {
    if (storage_->failing_write == 0) return;
    storage_->failing_write = 0;
    LifeRequest life(ring_);
    Task flushing = target_->submit(life.request);
    finish(flushing);
    const bool is_corrupt = image().health().state == HealthState::failed;
    require(flushing.status().ok() || is_corrupt, "a flush fails after the storage has recovered");
  }

  void begin(const Step& step) {
    constexpr std::array kOps = {Op::write,        Op::write, Op::read,  Op::discard,
                                 Op::write_zeroes, Op::flush, Op::write, Op::read};
    const uint64_t size = target_->geometry().size_bytes;
    const uint64_t sectors = size / kSectorBytes;
    const unsigned kind = step.op % 10;
    if (kind == 8) return step.length < 128 ? grow(step) : change(step);
    if (sectors == 0) return;
    // Near the beginning and near the end more often.
    uint64_t first = step.offset;
    if (step.op >= 200) first = sectors - 1 - step.offset % std::min<uint64_t>(sectors, 64);
    first %= sectors;
    const uint64_t count = std::min<uint64_t>(sectors - first, 1 + step.length % 96);
    if (kind == 9) return find_extents(first * kSectorBytes, count * kSectorBytes);
    auto tag = std::make_unique<Tag>(ring_, kOps[kind], first * kSectorBytes, count * kSectorBytes);
    tag->request.may_unmap = (step.choice & 1) == 0;
    tag->request.fua = (step.choice & 6) == 6;
    tag->submit(*target_);
    tags_.push_back(std::move(tag));
  }

  void find_extents(uint64_t offset, uint64_t length) {
    LifeRequest life(ring_);
    life.request.offset = offset;
    life.request.length = length;
    Extents found(length);
    Task finding = target_->extents(life.request, found);
    finish(finding);
    require(!finding.status().ok() || found.covered_bytes() != 0, "no extent is found");
    StatusContexts& contexts = *target_->status_contexts();
    for (const std::string& each : contexts.contexts()) {
      StatusRuns runs(length);
      Task asking = contexts.context_status(life.request, each, runs);
      finish(asking);
      require(!asking.status().ok() || runs.covered_bytes() != 0, "a context says nothing");
    }
  }

  // A verb, after the one that runs.
  void change(const Step& step) {
    end_verb();
    const uint8_t kind = step.length % 32;
    if (step.length < 192) return verbs_->change_bitmap(*target_, step.length, step.choice);
    // Tables that it replaces, or that were replaced before, are free afterwards.
    check_guest_data();
    forget_protected();
    if (kind < 16) {
      verbs_->change_snapshot(*target_, step.length, step.choice);
    } else if (chain_ != nullptr) {
      verbs_->change_chain(*chain_, kind - 16, step.choice);
    }
  }

  void end_verb() {
    if (const Task* const running = verbs_->running()) finish(*running);
    verbs_->collect();
  }

  // On the thread of the control reactor, while this one waits, and with it the jobs.
  void grow(const Step& step) {
    drain();
    end_verb();
    if (verbs_->has_jobs()) return;
    waiting_.waits = false;
    const uint64_t size = target_->geometry().size_bytes;
    const uint64_t wanted = size + uint64_t{step.offset} * kSectorBytes / 8 * 8;
    if (wanted <= kGrownMax) std::ignore = target_->resize(wanted / kSectorBytes * kSectorBytes);
    waiting_.waits = true;
  }

  void stop() {
    LifeRequest life(ring_);
    LifeCall call{};
    Task ending = verbs_->jobs().end_some(life.request, verbs_->jobs().all());
    finish(ending);
    // What follows the header may be written anew now, and tables that were replaced are free.
    Task stopping = target_->stop(life.request, call);
    check_guest_data();
    finish(stopping);
  }

  // --- Progress.
  void advance(size_t choice) {
    require(++rounds_ < kRoundsMax, "requests take too long");
    if (waiting_.count() != 0) waiting_.let_go(choice, ring_);
    ring_.run_once(false);
  }
  void finish(const Task& task) {
    while (!task.finished()) {
      require(waiting_.count() != 0 || !ring_.ready().empty() || ++idle_ < kRoundsMax,
              "a request waits for ever");
      advance(0);
    }
  }
  void collect() {
    verbs_->collect();
    std::erase_if(tags_, [](const auto& tag) {
      if (!tag->ended()) return false;
      tag->check();
      return true;
    });
  }
  void drain() {
    for (; !tags_.empty(); collect()) advance(rounds_);
  }

  // --- What belongs to nobody's data.
  void forget_protected() {
    protected_.clear();
    storage_->forget();
  }
  uint64_t number(uint64_t place) const {
    const auto bytes = storage_->bytes();
    if (place > bytes.size() || bytes.size() - place < 8) return 0;
    return load_big_endian<uint64_t>(bytes, place);
  }

  void protect(uint64_t offset, uint64_t bytes, uint64_t cluster) {
    const uint64_t end = (offset + bytes + cluster - 1) / cluster * cluster;
    const uint64_t size = storage_->geometry().size_bytes;
    if (offset >= size) return;
    bytes = std::min(end, size) - offset;
    storage_->protect(offset, bytes);
    protected_.emplace_back(offset, bytes);
  }

  void protect() {
    const auto header = qcow2::parse_header(storage_->bytes(), storage_->bytes().size());
    if (!header || !writable_) return;
    const uint64_t cluster = header->cluster_bytes();
    protect(0, cluster, cluster);
    protect(header->l1_offset, header->l1_entries * uint64_t{8}, cluster);
    const uint64_t table_bytes = header->refcount_table_clusters * cluster;
    protect(header->refcount_table_offset, table_bytes, cluster);
    for (uint64_t i = 0; i < table_bytes / 8; ++i) {
      const uint64_t block = number(header->refcount_table_offset + i * 8);
      if (block != 0) protect(block, cluster, cluster);
    }
    for (uint64_t i = 0; i < header->l1_entries; ++i) {
      const uint64_t table = number(header->l1_offset + i * 8) & qcow2::kOffsetMask;
      if (table != 0) protect(table, cluster, cluster);
    }
    // The rest of a longer snapshot table is kept by its refcounts alone.
    if (header->snapshots != 0) protect(header->snapshots_offset, 1, cluster);
  }

  static bool has_guest_data(std::span<const std::byte> bytes) {
    for (size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      if (std::memcmp(bytes.data() + at, &kGuestData, 8) == 0) return true;
    }
    return false;
  }

  void check_guest_data() const {
    const auto now = storage_->bytes();
    if (has_guest_data(input_.image)) return;
    for (const auto& [offset, bytes] : protected_) {
      require(!has_guest_data(now.subspan(offset, bytes)), "guest data is written over metadata");
    }
  }

  // The fields that may change: size, name of the backing file, L1 table, refcount table,
  // snapshots, features; the extension of the bitmaps, and what is moved for it.
  void check_header() const {
    if (before_.empty()) return;
    for (size_t at = 0; at < kSectorBytes; ++at) {
      const bool changes = (at >= 8 && at < 20) || (at >= 24 && at < 32) || (at >= 36 && at < 80) ||
                           (at >= 88 && at < 96) || at >= 104;
      require(changes || storage_->bytes()[at] == before_[at], "the header has changed");
    }
  }

  Qcow2Target& image() const {
    return chain_ != nullptr ? chain_->active() : static_cast<Qcow2Target&>(*target_);
  }

  const Input& input_;
  Ring& ring_;
  ControlReactor& control_;
  Waiting waiting_;
  std::unique_ptr<Memory> storage_;
  std::unique_ptr<Memory> backing_;
  std::optional<MemoryChain> files_;
  std::optional<Verbs> verbs_;
  std::unique_ptr<Target> target_;
  qcow2::Chain* chain_ = nullptr;  // none if it is only read
  bool writable_ = false;
  std::vector<std::unique_ptr<Tag>> tags_;
  std::vector<std::pair<uint64_t, uint64_t>> protected_;
  std::vector<std::byte> before_;
  uint64_t rounds_ = 0;
  uint64_t idle_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto ring = KernelRing::create({});
  static const auto control = ControlReactor::start();
  require(ring.has_value() && control.has_value(), "there is no ring");
  const Input input({data, size});
  Run(input, **ring, **control).run();
  return 0;
}
