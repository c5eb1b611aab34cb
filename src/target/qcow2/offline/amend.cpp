#include "target/qcow2/offline/amend.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "core/step.hpp"
#include "target/qcow2/offline/amend_steps.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/offline/repair_steps.hpp"

namespace sluice::qcow2 {
namespace {

Result<Check> check_for_amending(int descriptor);
Header amended(const Header& now, const AmendOptions& options);
Result<void> check_amend_options(const Check& check, const Header& wanted,
                                 const AmendOptions& options);
Result<void> check_width(const Check& check, const Header& wanted);

}  // namespace

// Upwards first: what follows may need the new version. Downwards last.
Result<void> amend_image(int descriptor, const AmendOptions& options) {
  auto check = check_for_amending(descriptor);
  if (!check) return std::unexpected(check.error());
  const Header wanted = amended(check->header, options);
  if (auto fits = check_amend_options(*check, wanted, options); !fits) return fits;
  if (wanted.version < check->header.version) {
    if (auto may = check_downgrade(descriptor, *check); !may) return may;
  } else if (wanted.version > check->header.version) {
    if (auto may = check_upgrade(descriptor, *check); !may) return may;
    check->header.version = wanted.version;
    if (auto done = replace_header(descriptor, check->header); !done) return done;
    step("amend: upgraded");
  }
  Header now = check->header;
  if (wanted.refcount_order != now.refcount_order) {
    check->header.refcount_order = wanted.refcount_order;
    if (auto done = rebuild_refcounts(descriptor, *check); !done) return done;
    step("amend: refcounts rebuilt");
    const auto rebuilt = read_image_header(descriptor);
    if (!rebuilt) return std::unexpected(rebuilt.error());
    now = *rebuilt;
  }
  if (wanted.version < now.version) {
    if (auto done = remove_zero_entries(descriptor); !done) return done;
    step("amend: no zero clusters");
  }
  Header last = wanted;
  last.refcount_table_offset = now.refcount_table_offset;
  last.refcount_table_clusters = now.refcount_table_clusters;
  return replace_header(descriptor, last);
}

namespace {

Result<Check> check_for_amending(int descriptor) {
  auto check = check_image(descriptor);
  if (!check) return check;
  const bool is_marked = check->header.has(kDirty) || check->header.has(kCorrupt);
  if (check->result.corruptions != 0 || check->result.check_errors != 0 || is_marked) {
    return fail(EUCLEAN, "it is damaged: repair it first with sluice check --repair all");
  }
  return check;
}

// Autoclear features of others are cleared by whoever changes an image.
Header amended(const Header& now, const AmendOptions& options) {
  Header wanted = now;
  wanted.version = options.version.value_or(now.version);
  wanted.refcount_order = options.refcount_order.value_or(now.refcount_order);
  wanted.autoclear &= kBitmapsValid | kRawExternalData;
  if (options.lazy_refcounts) {
    wanted.compatible &= ~kLazyRefcounts;
    if (*options.lazy_refcounts) wanted.compatible |= kLazyRefcounts;
  }
  // Without an order of its own: version 2 has none of these.
  if (wanted.version < 3) {
    if (!options.lazy_refcounts) wanted.compatible = 0;
    if (!has_valid_bitmaps(now)) wanted.autoclear = 0;
  }
  if (options.data_file_raw && !*options.data_file_raw) wanted.autoclear &= ~kRawExternalData;
  wanted.data_file_name = options.data_file_name.value_or(now.data_file_name);
  wanted.backing_name = options.backing_name.value_or(now.backing_name);
  wanted.backing_format = options.backing_format.value_or(now.backing_format);
  if (wanted.backing_name.empty()) wanted.backing_format.clear();
  return wanted;
}

Result<void> check_amend_options(const Check& check, const Header& wanted,
                                 const AmendOptions& options) {
  const Header& now = check.header;
  const bool is_raw = (now.autoclear & kRawExternalData) != 0;
  const auto refuse = [](std::string why) { return fail(EINVAL, std::move(why)); };
  if (wanted.version < 3 && wanted.refcount_order != 4) {
    return refuse("compat=0.10 has refcount_bits=16: add that option");
  }
  if (wanted.version < 3 && options.lazy_refcounts.value_or(false)) {
    return refuse("lazy_refcounts needs compat=1.1");
  }
  if (options.data_file_name && !now.has(kExternalData)) {
    return refuse("data_file: the data of this image is not in a file of its own");
  }
  if (options.data_file_raw.value_or(false) && !is_raw) {
    return refuse("data_file_raw=on is only possible when an image is made");
  }
  if (!wanted.backing_name.empty() && (wanted.autoclear & kRawExternalData) != 0) {
    return refuse("data_file_raw and a backing file exclude each other");
  }
  if (options.backing_name && !wanted.backing_name.empty() && wanted.backing_format.empty()) {
    return refuse("backing_file needs backing_fmt, as formats are never guessed");
  }
  if (options.backing_format && wanted.backing_name.empty()) {
    return refuse("backing_fmt: the image has no backing file");
  }
  if (wanted.backing_name.size() > kBackingNameMax) {
    return refuse(fmt::format("the name of the backing file has {} bytes, {} are possible",
                              wanted.backing_name.size(), kBackingNameMax));
  }
  return check_width(check, wanted);
}

Result<void> check_width(const Check& check, const Header& wanted) {
  for (const auto& [first, group] : check.references.groups()) {
    for (uint64_t i = 0; i < group.size(); ++i) {
      if (group[i].count <= wanted.refcount_max()) continue;
      return fail(EINVAL,
                  fmt::format("refcount_bits={} is too narrow: the cluster at offset {} has {}"
                              " references",
                              1U << wanted.refcount_order,
                              (first + i) * check.header.cluster_bytes(), group[i].count));
    }
  }
  return {};
}

}  // namespace
}  // namespace sluice::qcow2
