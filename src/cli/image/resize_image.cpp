#include "cli/image/resize_image.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "cli/image/create_options.hpp"
#include "spec/shown.hpp"
#include "spec/size.hpp"
#include "target/qcow2/chain.hpp"
#include "target/qcow2/offline/image_io.hpp"
#include "target/qcow2/offline/shrink.hpp"
#include "target/stack.hpp"

namespace sluice::cli {
namespace {

using qcow2::Preallocation;

constexpr uint64_t kQcow2Sector = 512;

struct ResizeRequest {
  std::string path = {};
  char sign = 0;       // of the size; 0: it is the new one
  uint64_t bytes = 0;  // without the sign
  Preallocation how = Preallocation::off;
  bool may_shrink = false;
};

Outcome<ResizeRequest> read_resize_request(const CommandLine& line);
Outcome<uint64_t> disk_bytes(const ImageFile& file);
Outcome<uint64_t> wanted_bytes(const ResizeRequest& request, uint64_t now);
Outcome<void> resize_raw(const ImageFile& file, uint64_t now, uint64_t wanted, Preallocation how);
Outcome<void> resize_qcow2(ImageFile&& file, uint64_t now, uint64_t wanted, Preallocation how);

}  // namespace

Outcome<void> resize_image(const CommandLine& line, const Streams& streams) {
  const auto request = read_resize_request(line);
  if (!request) return std::unexpected(request.error());
  auto file = open_image(request->path, ImageAccess::write);
  if (!file) return std::unexpected(file.error());
  const std::string format = line.text("format", file->format);
  if (format != "raw" && format != "qcow2") {
    return failed(fmt::format("{} is a {} image: only raw and qcow2 images can be resized",
                              shown(file->path), format));
  }
  if (format == "qcow2" && file->format != "qcow2") {
    return failed(
        fmt::format("{} is no qcow2 image, as -f says, but {}", shown(file->path), file->format));
  }
  file->format = format;
  const auto now = disk_bytes(*file);
  if (!now) return std::unexpected(now.error());
  const auto wanted = wanted_bytes(*request, *now);
  if (!wanted) return std::unexpected(wanted.error());
  const auto done = format == "raw" ? resize_raw(*file, *now, *wanted, request->how)
                                    : resize_qcow2(std::move(*file), *now, *wanted, request->how);
  if (!done) return done;
  if (!line.has("quiet")) streams.out << *wanted << '\n';
  return {};
}

namespace {

Outcome<ResizeRequest> read_resize_request(const CommandLine& line) {
  const auto words = line.words();
  if (words.size() != 2) return usage("'sluice resize' needs a FILE and its SIZE");
  ResizeRequest request{.path = words[0], .may_shrink = line.has("shrink")};
  const std::string& size = words[1];
  if (size.starts_with('+') || size.starts_with('-')) request.sign = size.front();
  const auto bytes = parse_size(size.substr(request.sign == 0 ? 0 : 1));
  if (!bytes) return usage(bytes.error().text);
  request.bytes = *bytes;
  const std::string format = line.text("format", "raw");
  if (format != "raw" && format != "qcow2") {
    return usage(fmt::format("-f takes 'raw' or 'qcow2', found {}", shown(format)));
  }
  if (const std::string how = line.text("preallocation", "off");
      !parse_preallocation(how, request.how)) {
    return usage(
        fmt::format("--preallocation takes off, metadata, falloc or full, found {}", shown(how)));
  }
  return request;
}

Outcome<uint64_t> disk_bytes(const ImageFile& file) {
  if (file.format == "raw") return file.size_bytes;
  const auto header = qcow2::read_image_header(file.descriptor.number());
  if (header) return header->size_bytes;
  return failed(fmt::format("{} cannot be read: {}", shown(file.path), header.error().text));
}

Outcome<uint64_t> wanted_bytes(const ResizeRequest& request, uint64_t now) {
  uint64_t wanted = request.bytes;
  if (request.sign == '+') wanted = request.bytes > kSizeMax - now ? kSizeMax + 1 : now + wanted;
  if (request.sign == '-') wanted = now - std::min(now, wanted);
  if (wanted == 0) return failed("the new size must be more than zero");
  if (wanted > kSizeMax) return failed("no image can exceed 8 EiB: ask for less");
  if (wanted < now && !request.may_shrink) {
    return failed(
        fmt::format("{} has {} bytes, and what lies behind byte {} would be lost: allow it"
                    " with --shrink",
                    shown(request.path), now, wanted));
  }
  if (wanted <= now && request.how != Preallocation::off) {
    return failed("--preallocation is only for images that grow");
  }
  return wanted;
}

Outcome<void> resize_raw(const ImageFile& file, uint64_t now, uint64_t wanted, Preallocation how) {
  const int descriptor = file.descriptor.number();
  const auto refuse = [&](const std::string& why) {
    return failed(fmt::format("{}: {}", shown(file.path), why));
  };
  if (file.is_block_device) {
    return refuse("it is a block device, whose size is not changed here");
  }
  if (how == Preallocation::metadata) {
    return refuse("a raw file has no metadata: --preallocation takes off, falloc or full");
  }
  if (wanted <= now || how == Preallocation::off) {
    if (ftruncate(descriptor, static_cast<off_t>(wanted)) != 0) return refuse(std::strerror(errno));
  } else if (auto done = qcow2::preallocate(descriptor, now, wanted - now, how); !done) {
    // As it was.
    if (ftruncate(descriptor, static_cast<off_t>(now)) != 0) return refuse(std::strerror(errno));
    return refuse(done.error().text);
  }
  if (auto synced = qcow2::sync_image(descriptor); !synced) return refuse(synced.error().text);
  return {};
}

Outcome<void> resize_qcow2(ImageFile&& file, uint64_t now, uint64_t wanted, Preallocation how) {
  const int descriptor = file.descriptor.number();
  const std::string path = file.path;
  const auto refuse = [&](const std::string& why) {
    return failed(fmt::format("{} cannot be resized: {}", shown(path), why));
  };
  if (wanted % kQcow2Sector != 0) {
    return refuse(fmt::format("{} is no multiple of 512: {}", wanted,
                              advise_multiple(wanted, kQcow2Sector, kQcow2Sector)));
  }
  const auto header = qcow2::read_image_header(descriptor);
  if (!header) return refuse(header.error().text);
  if (auto may = qcow2::check_may_resize(*header); !may) return refuse(may.error().text);
  if (wanted == now) return {};
  if (wanted < now) {
    if (auto done = qcow2::shrink_image(descriptor, wanted); !done) {
      return refuse(done.error().text);
    }
    return {};
  }
  if (how != Preallocation::off && !header->backing_name.empty()) {
    return refuse("preallocation would hide its backing file");
  }
  if (how != Preallocation::off && header->has(qcow2::kExternalData)) {
    return refuse("its data is in another file: preallocate that one");
  }
  return grow_qcow2(std::move(file), now, wanted, how);
}

}  // namespace

// The stack takes the lock over.
Outcome<void> grow_qcow2(ImageFile&& file, uint64_t now, uint64_t wanted, Preallocation how) {
  const std::string path = file.path;
  file.descriptor = {};
  const auto refuse = [&](const std::string& why) {
    return failed(fmt::format("{} cannot be resized: {}", shown(path), why));
  };
  Spec spec{.target = "qcow2"};
  spec.set("file", path);
  spec.set("backing", std::string("any"));
  auto stack = Stack::open(spec, false);
  if (!stack) return refuse(stack.error().text);
  if (auto started = (*stack)->start(); !started) return refuse(started.error().text);
  Result<void> done;
  if (auto grown = (*stack)->resize(wanted); !grown) done = std::unexpected(grown.error());
  Status allocated;
  if (done && how != Preallocation::off) {
    auto& chain = dynamic_cast<qcow2::Chain&>((*stack)->root());
    allocated = chain.active().preallocate(now, wanted, how);
  }
  (*stack)->stop();
  stack->reset();
  if (!done) return refuse(done.error().text);
  if (allocated.ok()) return {};
  // As it was.
  auto again = open_image(path, ImageAccess::write);
  if (!again) return std::unexpected(again.error());
  const auto shrunk = qcow2::shrink_image(again->descriptor.number(), now);
  const std::string why =
      fmt::format("cannot allocate its new part: {}", std::strerror(allocated.error()));
  return refuse(shrunk ? why : fmt::format("{}; nor shrunk again: {}", why, shrunk.error().text));
}

}  // namespace sluice::cli
