#include "model/qcow2_image.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <span>
#include <utility>

#include "core/descriptor.hpp"
#include "target/qcow2/offline/check.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::test {
namespace {

using ImageContent = std::vector<std::byte>;

constexpr uint64_t kBlockBytes = BlockOracle::kBlock;

// What is written to the image before the run: files for the commands of qemu-io.
class Filling {
 public:
  Filling(const WorkFolder& folder, std::mt19937_64& random, Qcow2Image& image, BlockOracle& oracle)
      : folder_(folder),
        random_(random),
        image_(image),
        oracle_(oracle),
        touched_(image.size_bytes / image.cluster_bytes + 1) {}

  void make_backing();
  void fill(int writes, bool compressed);
  void compress_nothing() { touched_.assign(touched_.size(), true); }

 private:
  std::string backing_options();
  void run(const std::string& command);
  std::string write_command(bool compressed);
  void put(uint64_t number, uint64_t offset, std::span<std::byte> bytes);

  const WorkFolder& folder_;
  std::mt19937_64& random_;
  Qcow2Image& image_;
  BlockOracle& oracle_;
  std::vector<bool> touched_;  // clusters, which QEMU does not compress any more
  int files_ = 0;
};

void Filling::put(uint64_t number, uint64_t offset, std::span<std::byte> bytes) {
  BlockOracle::fill(number, offset, bytes);
  oracle_.begin(number, offset, bytes.size());
  oracle_.end(offset, bytes.size(), true);
}

// Of any length, with data in about half of it.
void Filling::make_backing() {
  uint64_t length = image_.size_bytes;
  if (random_() % 3 == 0) length = (1 + random_() % (length / kBlockBytes)) * kBlockBytes;
  ImageContent bytes(length);
  const uint64_t number = oracle_.new_number();
  for (uint64_t offset = 0; offset < length;) {
    const uint64_t part = std::min((1 + random_() % 64) * kBlockBytes, length - offset);
    if (random_() % 2 == 0) put(number, offset, std::span(bytes).subspan(offset, part));
    offset += part;
  }
  folder_.write("base.raw", bytes);
  image_.backing_format = random_() % 2 == 0 ? "raw" : "qcow2";
  image_.backing = "base." + image_.backing_format;
  if (image_.backing_format == "raw") return;
  const std::string options = backing_options();
  run("qemu-img convert -f raw -O qcow2" + options + " base.raw base.qcow2");
  const bool is_old = options.contains("compat=0.10");
  if (is_old || length != image_.size_bytes || random_() % 2 == 0) return;
  run("qemu-img snapshot -c below base.qcow2");
  image_.backing_snapshots.emplace_back("below");
  image_.backing_snapshot_contents.push_back(std::move(bytes));
}

std::string Filling::backing_options() {
  constexpr uint64_t kClusterBytes[] = {512, 4096, 4096, 65536};
  image_.backing_cluster_bytes = kClusterBytes[random_() % 4];
  std::string options = random_() % 4 == 0 ? " -c" : "";
  options += fmt::format(" -o cluster_size={}", image_.backing_cluster_bytes);
  if (random_() % 4 == 0) return options + ",compat=0.10";
  if (image_.backing_cluster_bytes >= 16384 && random_() % 2 == 0) options += ",extended_l2=on";
  return options + fmt::format(",refcount_bits={}", 8U << random_() % 4);
}

void Filling::run(const std::string& command) {
  EXPECT_EQ(folder_.run(command), 0) << command << '\n' << folder_.output();
}

void Filling::fill(int writes, bool compressed) {
  std::string command = "qemu-io -f qcow2";
  for (int i = 0; i < writes; ++i) command += " -c '" + write_command(compressed) + "'";
  run(command + " image.qcow2");
}

// Compressed clusters are zeroes but for one block, because the patterns cannot be compressed.
std::string Filling::write_command(bool compressed) {
  const uint64_t unit = compressed ? image_.cluster_bytes : kBlockBytes;
  const uint64_t units = image_.size_bytes / unit;
  const uint64_t first = random_() % units;
  const uint64_t most = compressed ? 4 : 3 * image_.cluster_bytes / kBlockBytes;
  const uint64_t length = std::min(1 + random_() % most, units - first) * unit;
  const uint64_t offset = first * unit;
  ImageContent bytes(length);
  const uint64_t last = (offset + length - 1) / image_.cluster_bytes;
  for (uint64_t i = offset / image_.cluster_bytes; i <= last; ++i) {
    compressed = compressed && !touched_[i];
    touched_[i] = true;
  }
  if (!compressed && random_() % 6 == 0) {
    put(0, offset, bytes);
    return fmt::format("write -z {} {} {}", random_() % 2 == 0 ? "-u" : "", offset, length);
  }
  const uint64_t number = oracle_.new_number();
  if (compressed) {
    put(0, offset, bytes);
    for (uint64_t begin = 0; begin < length; begin += unit) {
      const uint64_t block = begin + random_() % (unit / kBlockBytes) * kBlockBytes;
      put(number, offset + block, std::span(bytes).subspan(block, kBlockBytes));
    }
  } else {
    put(number, offset, bytes);
  }
  const std::string name = fmt::format("data{}", files_++);
  folder_.write(name, bytes);
  return fmt::format("write {} -s {} {} {}", compressed ? "-c" : "", name, offset, length);
}

// Version 2 has no options.
std::string random_options(std::mt19937_64& random, Qcow2Image& image, uint32_t& refcount_bits,
                           bool may_commit) {
  constexpr uint64_t kClusterBytes[] = {512, 1024, 4096, 65536};
  image.cluster_bytes = kClusterBytes[random() % 4];
  std::string options = fmt::format("cluster_size={}", image.cluster_bytes);
  refcount_bits = 16;
  if (random() % 4 == 0) {
    image.version = 2;
    return options + ",compat=0.10";
  }
  refcount_bits = 1U << random() % 7;
  if (image.cluster_bytes >= 16384 && random() % 2 == 0) options += ",extended_l2=on";
  if (random() % 3 == 0) options += ",compression_type=zstd";
  if (random() % 4 == 0) options += ",lazy_refcounts=on";
  if (!may_commit && random() % 6 == 0) {
    image.data_file = "data.raw";
    options += ",data_file=data.raw";
  }
  return options + fmt::format(",compat=1.1,refcount_bits={}", refcount_bits);
}

// --- What QEMU says

bool is_sound(const WorkFolder& folder, const std::string& name, bool may_leak) {
  constexpr int kLeaks = 3;
  const int checked = folder.run("qemu-img check -f qcow2 " + name);
  if (checked == 0 || (checked == kLeaks && may_leak)) return true;
  folder.run("qemu-img check -f qcow2 " + name + " | grep -v ^Leaked");
  ADD_FAILURE() << "qemu-img check " << name << ": " << checked << '\n' << folder.output();
  return false;
}

void expect_snapshots(const WorkFolder& folder, const std::string& name,
                      const std::vector<std::string>& snapshots,
                      const std::vector<ImageContent>& contents) {
  for (size_t i = 0; i < snapshots.size(); ++i) {
    const auto content = read_snapshot(folder, name, snapshots[i]);
    EXPECT_TRUE(content.has_value()) << snapshots[i] << ": " << folder.output();
    EXPECT_TRUE(content == contents[i])
        << "snapshot " << snapshots[i] << " of " << name << " has changed";
  }
}

ImageContent read_disk(const WorkFolder& folder, const std::string& name) {
  EXPECT_EQ(folder.run("qemu-img convert -f qcow2 -O raw " + name + " disk.raw"), 0)
      << folder.output();
  return folder.read("disk.raw");
}

}  // namespace

Qcow2Image make_random_image(const WorkFolder& folder, std::mt19937_64& random,
                             std::optional<BlockOracle>& oracle, bool may_commit) {
  Qcow2Image image;
  uint32_t refcount_bits = 0;
  image.options = random_options(random, image, refcount_bits, may_commit);
  const uint64_t most_mib = image.cluster_bytes == 512 ? 3 : 7;
  image.size_bytes = (2048 + random() % (most_mib * 2048)) * kBlockBytes;
  oracle.emplace(image.size_bytes);
  Filling filling(folder, random, image, *oracle);
  std::string backing;
  if (may_commit || random() % 2 == 0) {
    filling.make_backing();
    backing = fmt::format(" -b {} -F {}", image.backing, image.backing_format);
  } else if (image.data_file.empty() && random() % 5 == 0) {
    image.options += ",preallocation=metadata";
    filling.compress_nothing();
  }
  const std::string command = fmt::format("qemu-img create -q -f qcow2 -o {}{} image.qcow2 {}",
                                          image.options, backing, image.size_bytes);
  EXPECT_EQ(folder.run(command), 0) << command << '\n' << folder.output();
  // Many compressed clusters share a host cluster, and a snapshot doubles its refcount.
  uint32_t refcount_bits_min = 4;
  for (int round = static_cast<int>(random() % 3); round > 0; --round) {
    const bool compressed = image.data_file.empty() && random() % 3 == 0;
    filling.fill(static_cast<int>(1 + random() % 12), compressed);
    if (compressed) refcount_bits_min = 8;
    const bool cannot = may_commit || refcount_bits < refcount_bits_min || !image.data_file.empty();
    if (cannot || random() % 2 == 0) continue;
    const std::string name = fmt::format("s{}", image.snapshots.size());
    EXPECT_EQ(folder.run(fmt::format("qemu-img snapshot -c {} image.qcow2", name)), 0)
        << folder.output();
    image.snapshots.push_back(name);
    image.snapshot_contents.emplace_back();
  }
  for (size_t i = 0; i < image.snapshots.size(); ++i) {
    const auto content = read_snapshot(folder, "image.qcow2", image.snapshots[i]);
    EXPECT_TRUE(content.has_value()) << folder.output();
    image.snapshot_contents[i] = content.value_or(ImageContent());
  }
  return image;
}

std::string corruptions_of(const std::vector<std::byte>& image) {
  const Descriptor file(memfd_create("image", MFD_CLOEXEC));
  if (auto written = qcow2::write_image(file.number(), 0, image); !written) {
    return written.error().text;
  }
  const auto check = qcow2::check_image(file.number());
  if (!check) return check.error().text;
  const qcow2::CheckResult& found = check->result;
  if (found.corruptions == 0 && found.check_errors == 0) return {};
  return fmt::format("{} corruptions: {}", found.corruptions, fmt::join(found.sentences, "; "));
}

std::optional<std::vector<std::byte>> read_snapshot(const WorkFolder& folder,
                                                    const std::string& image,
                                                    const std::string& name) {
  const int status = folder.run(
      fmt::format("qemu-img convert -f qcow2 -l {} -O raw {} snapshot.raw", name, image));
  if (status != 0) return std::nullopt;
  return folder.read("snapshot.raw");
}

std::vector<std::byte> examine_image(const WorkFolder& folder, const std::string& name,
                                     const Qcow2Image& image, bool may_leak) {
  const bool has_image_below = image.backing_format == "qcow2";
  if (!is_sound(folder, name, may_leak)) return {};
  if (has_image_below && !is_sound(folder, image.backing, may_leak)) return {};
  const std::string& own = image.is_below ? image.backing : name;
  expect_snapshots(folder, own, image.snapshots, image.snapshot_contents);
  if (has_image_below && !image.is_below) {
    expect_snapshots(folder, image.backing, image.backing_snapshots,
                     image.backing_snapshot_contents);
  }
  ImageContent found = read_disk(folder, own);
  if (image.is_below) EXPECT_TRUE(read_disk(folder, name) == found) << "the empty image differs";
  return found;
}

}  // namespace sluice::test
