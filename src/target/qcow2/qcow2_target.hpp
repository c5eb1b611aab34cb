// Qcow2Target: the disk in a qcow2 image.
//
// Its children: the image's storage; the external data file, or what enciphers the data, if the
// image has one; the backing file, if it has one. Data that is mapped moves between the request's
// pages and a child, one operation for each run of clusters. Zeroes, and the parts of compressed
// clusters, are copied.
//
// A request for mapped data holds its range shared, so that no change of the mapping comes in
// between; every change holds whole clusters exclusively.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/extents.hpp"
#include "ring/async_mutex.hpp"
#include "ring/range_lock.hpp"
#include "target/error_log.hpp"
#include "target/qcow2/change.hpp"
#include "target/qcow2/image.hpp"
#include "target/qcow2/offline/create.hpp"
#include "target/status_contexts.hpp"
#include "target/target.hpp"

namespace sluice::qcow2 {

class Qcow2Target final : public Target, public StatusContexts {
 public:
  struct Parts {
    std::unique_ptr<Target> storage;
    // Null: guest data is in the storage. An external data file, or what enciphers the data of
    // that.
    std::unique_ptr<Target> data;
    std::unique_ptr<Target> backing;  // null: what is not allocated reads as zeroes
    std::string data_path = {};       // of the file with the guest data; empty: not a file
    bool names_backing = false;       // what the spec names is the backing file, not the storage
  };

  Qcow2Target(Image::Options options, const Header& header, Parts parts);

  bool is_living() const override { return true; }
  Task start(Request& request, LifeCall& call) override;
  Task attach(Request& request, LifeCall& call) override;
  Task detach(Request& request, LifeCall& call) override;
  Task stop(Request& request, LifeCall& call) override;
  Task control(Request& request, ControlCall& call) override;
  std::vector<Target*> named_children() const override;
  StatusContexts* status_contexts() override { return this; }
  std::vector<std::string> contexts() const override;
  Task context_status(Request& request, const std::string& context, StatusRuns& found) override;
  Health health() const override { return image_.health(); }
  std::string swap_risk() const override;

  // Growth, of all but the size that the target reports; see Target::resize().
  Task grow(Request& request, uint64_t size_bytes);
  // Maps all clusters of a range in which none is mapped, as after growth without a backing file.
  // `how` is not off. Control path, while the target is served.
  Status preallocate(uint64_t offset, uint64_t end, Preallocation how);

  // --- Changes of the chain (chain_changes.cpp), on the control reactor.
  // Brings the next part of the disk from `offset` on into the image, if it comes from the backing
  // file and does not read as zeroes. Other requests may be in flight. `next`: where that part
  // ends; `copied`: bytes.
  Task copy_up(Request& request, uint64_t offset, uint64_t& next, uint64_t& copied);
  // With no request in flight, and nothing left to copy up: goes on without the backing file, which
  // it returns. EBUSY: internal snapshots may need it.
  Task leave_backing(Request& request, std::unique_ptr<Target>& left);
  // With no request in flight: is read-only from now on. What fails is logged.
  Task freeze(Request& request);
  // Reads fail until then, see committing.cpp.
  bool is_distrusted() const { return is_distrusted_; }
  // The backing file, to be moved elsewhere in the tree; under tree_lock(). Then this target must
  // not be used any more, unless it gets it back.
  std::unique_ptr<Target> take_backing();
  void put_backing(std::unique_ptr<Target> below);
  // Null: none.
  Target* backing() const { return backing_; }
  const Header& header() const { return image_.header(); }
  bool outlives_server() const { return image_.outlives_server(); }
  bool has_bitmaps() const { return !image_.bitmaps().all().empty(); }
  // Takes the place of another target, which is attached to the same reactors.
  void join_reactors_of(const Qcow2Target& other) { reactors_ = other.reactors_.load(); }

  // --- Committing (committing.cpp), on the control reactor.
  // Moves some of what the image has itself from `offset` on to the backing file, which is written
  // by nobody else: it is durable there before the image drops it. Other requests may be in flight.
  // `next`: where that part ends; `moved`: bytes.
  Task move_down(Request& request, uint64_t offset, uint64_t& next, uint64_t& moved);
  // As resize(), with the limits that has.
  Task grow_here(Request& request, uint64_t size_bytes);

 private:
  // How much of its clusters the image's file takes on its disk.
  enum class Space : uint8_t { unknown, most, little };

  Qcow2Target(Image::Options options, const Header& header, bool has_data, bool has_backing,
              std::string data_path, bool names_backing, Parts&& parts);

  Task do_submit(Request& request) override;
  Task do_extents(Request& request, Extents& found) override;
  Result<uint64_t> do_resize(std::optional<uint64_t> wanted) override;

  // --- Reading (reading.cpp).
  Task read(Request& request);
  // The caller holds the range. `run`: its first one; of no length if that is unknown.
  Task read_runs(Request& request, Run run);
  Task read_run(Request& request, const Run& run);
  Task read_host(Request& request, uint64_t host);
  Task read_cut(Request& request, Target& from, uint64_t offset, uint64_t end);
  Task read_over_end(Request& request, Target& from, uint64_t offset, uint64_t end);
  Task read_compressed(Request& request, L2Entry entry);
  Task fill_with_zeroes(Request& request);

  // --- Extents (extents.cpp).
  Task describe(Request& request, uint64_t offset, const Run& run, Extents& found);
  Task find_below(Request& request, uint64_t offset, Extent nothing, Extents& found);
  Task find_in_file(Request& request, const Run& run, Extents& found);
  Extent placed(Extent kind, const Run& run, const Extents& found) const;
  Task judge_space(Request& request);

  // --- Writing (writing.cpp).
  Task write(Request& request);
  uint64_t step_bytes(uint64_t offset) const;
  Task write_steps(Request& request);
  Task write_step(Request& request);
  Task load_change(Request& request, Change& change);
  Task write_in_place(Request& request, bool& written);
  Task look_up_writable(Request& request, uint64_t done, Run& run);
  Task write_runs_in_place(Request& request, Run first, bool& written);
  Task write_changing(Request& request);
  Task change_clusters(Request& request);
  Task allocate(Request& request, Change& change);
  Task write_data(Request& request, Change& change);
  Task fill_edge(Request& request, Edge edge);
  Task drop_replaced(Request& request, const Change& change, BlockVersion stored);
  Task store_unmapped(Request& request, Change& change);
  bool overwrites_metadata(uint64_t host, uint64_t bytes) const;
  Task judge(Request& request, Status status);
  Task drop_entry(Request& request, L2Entry old, BlockVersion stored);

  // --- Compressed clusters (compressing.cpp).
  Task write_compressed(Request& request);
  Task compress_step(Request& request);
  Task compress_cluster(Request& request, std::span<std::byte> stream, uint32_t& length);
  Task write_streams(Request& request, std::span<const std::byte> memory,
                     std::span<const uint32_t> lengths);
  Task pack(Request& request, std::span<const std::byte> memory, PackedStreams& streams);
  Task write_packed(Request& request, uint64_t offset, std::span<const std::byte> bytes);

  // --- Discard and zeroes (zeroing.cpp).
  Task discard(Request& request);
  Task discard_clusters(Request& request);
  uint64_t whole_end(const Request& request) const;
  Task write_zeroes(Request& request);
  Task write_zeroes_by_entry(Request& request);
  Task unmap(Request& request);
  Task unmap_step(Request& request, uint64_t offset, uint64_t clusters);
  L2Entry unmapped(const L2Entry& old, const Request& request) const;

  // --- Snapshots (snapshot_verbs.cpp).
  Task control_snapshots(Request& request, ControlCall& call);
  Task list_snapshots(Request& request, ControlCall& call);
  Task change_snapshots(Request& request, ControlCall& call);

  // --- Copying up (chain_changes.cpp).
  Task find_to_copy(Request& request, uint64_t offset, uint64_t& length, bool& is_below);
  Task copy_part(Request& request, uint64_t offset, uint64_t& length, bool& written);

  // --- Committing (committing.cpp).
  Task find_own(Request& request, uint64_t offset, uint64_t& next, bool& is_own);
  Task write_below(Request& request, uint64_t end, uint64_t& done, uint64_t& moved);
  Task write_run_below(Request& request, Run run);
  Task drop_own(Request& request, uint64_t offset, uint64_t end);
  Task drop_step(Request& request, uint64_t offset, uint64_t clusters);

  // --- Growth (growing.cpp).
  Task clear_new(Request& request);
  Task fill_new(Request& request, uint64_t offset, uint64_t end);
  Task map_new(Request& request, uint64_t offset, uint64_t end, Preallocation how);
  Task map_step(Request& request, uint64_t offset, uint64_t clusters, Preallocation how);

  // --- Block status (contexts.cpp).
  Task find_dirty(Request& request, const std::string& context, StatusRuns& found);
  Task find_depth(Request& request, StatusRuns& found);
  Task find_depth_below(Request& request, uint64_t offset, StatusRuns& found);

  // --- Dirty bitmaps (bitmap_verbs.cpp).
  Task control_bitmaps(Request& request, ControlCall& call);
  Status plan_bitmap(ControlCall& call, BitmapEntry& entry) const;
  Task add_bitmap(Request& request, ControlCall& call);
  Task remove_bitmap(Request& request, ControlCall& call);
  Task change_bitmap(Request& request, ControlCall& call);
  Task merge_bitmap(Request& request, ControlCall& call);
  Task read_bitmap(Request& request, Target& disk, ControlCall& call, Bitmap& found);
  Status explain_bitmaps(ControlCall& call, std::string_view what, Status status);
  void mark(uint64_t offset, uint64_t length) { image_.bitmaps().mark(offset, length); }

  Target& data() const { return *data_; }
  uint64_t data_end() const {
    return (image_.rules().external ? *data_ : child(0)).geometry().size_bytes;
  }
  uint64_t cluster_bytes() const { return image_.header().cluster_bytes(); }

  Target* const data_;
  const std::string data_path_;
  const bool names_backing_;
  Target* backing_;  // null: none; changed with no request in flight
  const bool compress_;
  Image image_;
  RangeLock ranges_;                    // of the disk
  std::atomic<uint64_t> flushes_ = 0;   // that have begun
  AsyncMutex packing_;                  // of streams of compressed clusters; guards what follows
  uint64_t packed_before_ = 0;          // the value of flushes_
  std::vector<std::byte> packed_tail_;  // what the block has in which the newest stream ends
  ControlReactor* control_ = nullptr;   // while it is served
  std::atomic<int> reactors_ = 0;       // that it is attached to, the control reactor included
  ErrorLog errors_;
  std::atomic<Space> space_ = Space::unknown;
  std::atomic<bool> is_distrusted_ = false;  // as a backing file, by what commits to it
};

}  // namespace sluice::qcow2
