#include "target/qcow2/offline/check.hpp"

#include <fmt/format.h>

#include <utility>

#include "target/qcow2/offline/check_steps.hpp"
#include "target/qcow2/offline/image_io.hpp"

namespace sluice::qcow2 {

Result<Check> check_image(int descriptor) {
  const auto header = read_any_header(descriptor);
  if (!header) return std::unexpected(header.error());
  const auto file_bytes = image_bytes(descriptor);
  if (!file_bytes) return std::unexpected(file_bytes.error());
  Check check(*header, *file_bytes);
  const uint64_t cluster_bytes = header->cluster_bytes();
  check.result.total_clusters =
      header->size_bytes / cluster_bytes + (header->size_bytes % cluster_bytes != 0 ? 1 : 0);
  count_references(check, 0, cluster_bytes, kUseMetadata, 1, "the header");
  if (const auto& luks = header->encryption) {
    count_references(check, luks->offset, luks->bytes, kUseMetadata, 1, "the LUKS header");
  }
  check_guest_data(descriptor, check);
  check_bitmaps(descriptor, check);
  check_refcounts(descriptor, check);
  return check;
}

bool count_references(Check& check, uint64_t offset, uint64_t length, ClusterUse use,
                      uint64_t times, std::string_view what) {
  const auto counted = check.references.add(offset, length, use, times);
  if (!counted) {
    check.beyond.insert(offset >> check.header.cluster_bits);
    check.beyond.insert((offset + length - 1) >> check.header.cluster_bits);
    check.complete &= check.beyond.size() <= Check::kBeyondMax;
    check.corrupt(times,
                  fmt::format("{} at offset {} is beyond the end of the file", what, offset));
    return false;
  }
  if (counted->overflows > 0) {
    check.corrupt(
        counted->overflows,
        fmt::format("{} at offset {} has more references than a refcount of {} bits counts", what,
                    offset, 1U << check.header.refcount_order));
  }
  return true;
}

void CheckResult::say(std::string sentence) {
  if (sentences.size() < kSentencesMax) {
    sentences.push_back(std::move(sentence));
  } else {
    ++more_sentences;
  }
}

void Check::corrupt(uint64_t times, std::string sentence) {
  result.corruptions += times;
  result.say(std::move(sentence));
}

void Check::unread(const Error& error) {
  ++result.check_errors;
  complete = false;
  result.say(error.text);
}

}  // namespace sluice::qcow2
