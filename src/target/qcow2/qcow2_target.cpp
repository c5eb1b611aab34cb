#include "target/qcow2/qcow2_target.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "spec/shown.hpp"

namespace sluice::qcow2 {
namespace {

constexpr uint32_t kIoBytesMax = 4 << 20;

Target::Children in_order(Qcow2Target::Parts&& parts) {
  Target::Children children;
  children.push_back(std::move(parts.storage));
  if (parts.data != nullptr) children.push_back(std::move(parts.data));
  if (parts.backing != nullptr) children.push_back(std::move(parts.backing));
  return children;
}

}  // namespace

Qcow2Target::Qcow2Target(Image::Options options, const Header& header, Parts parts)
    : Qcow2Target(std::move(options), header, parts.data != nullptr, parts.backing != nullptr,
                  std::move(parts.data_path), parts.names_backing, std::move(parts)) {}

Qcow2Target::Qcow2Target(Image::Options options, const Header& header, bool has_data,
                         bool has_backing, std::string data_path, bool names_backing, Parts&& parts)
    : Target(in_order(std::move(parts))),
      data_(&child(has_data ? 1 : 0)),
      data_path_(std::move(data_path)),
      names_backing_(names_backing),
      backing_(has_backing ? &child(children().size() - 1) : nullptr),
      compress_(options.compress),
      image_(options, header, child(0), *data_),
      errors_(options.name) {
  geometry_ = common_geometry(children());
  geometry_.size_bytes = header.size_bytes;
  geometry_.read_only = !options.writable;
  const auto cluster = static_cast<uint32_t>(header.cluster_bytes());
  geometry_.io_opt_bytes = cluster;
  geometry_.max_io_bytes = kIoBytesMax;
  geometry_.max_discard_bytes = 0;
  geometry_.discard_granularity_bytes = cluster;
  geometry_.can_discard = options.writable;
  geometry_.can_write_zeroes = options.writable;
  geometry_.can_prefetch = false;
  geometry_.can_fua = false;
  geometry_.volatile_cache = options.writable;
}

Task Qcow2Target::start(Request& request, LifeCall& call) {
  Task loading = image_.load(request, call);
  if (const Status loaded = co_await loading; !loaded.ok()) co_return loaded;
  geometry_.size_bytes = image_.header().size_bytes;
  control_ = call.control;
  co_return kOk;
}

Task Qcow2Target::attach(Request&, LifeCall&) {
  ++reactors_;
  return kOk;
}

Task Qcow2Target::detach(Request&, LifeCall&) {
  --reactors_;
  return kOk;
}

Task Qcow2Target::stop(Request& request, LifeCall&) {
  control_ = nullptr;
  return image_.close(request);
}

std::vector<Target*> Qcow2Target::named_children() const {
  if (names_backing_) return {backing_};
  return Target::named_children();
}

std::string Qcow2Target::swap_risk() const {
  return "qcow2 allocates memory for requests that need a new cluster, or a compressed one";
}

Task Qcow2Target::do_submit(Request& request) {
  if (request.changes_data() && image_.corrupt()) return Status::from_errno(EIO);
  switch (request.op) {
    case Op::read:
      if (is_distrusted()) return Status::from_errno(EIO);
      return read(request);
    case Op::write:
      return compress_ ? write_compressed(request) : write(request);
    case Op::flush:
      flushes_.fetch_add(1, std::memory_order_relaxed);
      return image_.flush(request);
    case Op::discard:
      return discard(request);
    case Op::write_zeroes:
      return write_zeroes(request);
    case Op::prefetch:
      return kOk;
  }
  return Status::from_errno(EOPNOTSUPP);
}

}  // namespace sluice::qcow2
