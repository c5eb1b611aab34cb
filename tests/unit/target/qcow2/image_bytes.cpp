#include "unit/target/qcow2/image_bytes.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace sluice::qcow2::test {

ImageBytes::ImageBytes(uint32_t version, uint32_t cluster_bits)
    : bytes_(size_t{1} << cluster_bits),
      file_bytes_(uint64_t{4} << cluster_bits),
      end_(version == 2 ? 72 : 104) {
  const uint64_t cluster = bytes_.size();
  put(0, kMagic).put(kVersionAt, version).put(kClusterBitsAt, cluster_bits);
  put(kSizeAt, cluster * (cluster / 8)).put(kL1EntriesAt, 1U).put(kL1OffsetAt, cluster * 3);
  put(kRefcountTableAt, cluster).put(kRefcountClustersAt, 1U);
  if (version == 3) put(kRefcountOrderAt, 4U).put(kHeaderBytesAt, 104U);
}

ImageBytes& ImageBytes::put(size_t place, std::string_view text) {
  std::memcpy(std::span(bytes_).subspan(place, text.size()).data(), text.data(), text.size());
  return *this;
}

ImageBytes& ImageBytes::extend(uint32_t type, std::string_view data) {
  put(end_, type).put(end_ + 4, static_cast<uint32_t>(data.size())).put(end_ + 8, data);
  end_ += 8 + (data.size() + 7) / 8 * 8;
  return *this;
}

ImageBytes& ImageBytes::file_bytes(uint64_t bytes) {
  file_bytes_ = bytes;
  return *this;
}

std::string ImageBytes::refusal() const {
  const Result<Header> header = parse();
  if (header) return {};
  const Error& error = header.error();
  return fmt::format("{}: {}", strerrorname_np(error.error), error.text);
}

Header header_of(const ImageBytes& image) {
  const Result<Header> header = image.parse();
  EXPECT_TRUE(header.has_value()) << image.refusal();
  return header.value_or(Header{});
}

std::string big_endian_text(uint64_t number, int bytes) {
  std::string text;
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) {
    text += static_cast<char>(number >> shift & 0xff);
  }
  return text;
}

bool has_qemu_img() { return std::system("command -v qemu-img >/dev/null") == 0; }

std::vector<std::byte> made_by_qemu(const std::string& options, const std::string& commands) {
  std::string folder = std::filesystem::temp_directory_path() / "qcow2-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) return {};
  const std::string command =
      fmt::format("cd {} && img=image.qcow2 && qemu-img create -q -f qcow2 $img {} {}{}", folder,
                  options, commands.empty() ? "" : " && ", commands);
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  std::ifstream file(folder + "/image.qcow2", std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  std::filesystem::remove_all(folder);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

}  // namespace sluice::qcow2::test
