#include "daemon/taking_over.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <iterator>

#include "core/step.hpp"
#include "daemon/ask.hpp"
#include "daemon/handover_messages.hpp"
#include "daemon/version_0.hpp"

namespace sluice {
namespace {

constexpr std::chrono::seconds kLetGoTimeout{40};  // longer than the old server's own limit

template <typename Message>
Result<Message> read(const JsonValue& body, Result<Message> (*from)(const JsonValue&)) {
  try {
    return from(body);
  } catch (const JsonMismatch&) {
    return fail(EPROTO, "it hands over in a way that this sluice does not understand");
  }
}

}  // namespace

Result<DeviceOffer> OldServer::begin() {
  auto begun = ask(id, to_json(HandoverRequest{.successor = this_process()}));
  // Whoever has taken over a server without rights gets no record of his own to this one.
  auto kept = read_record(id);
  if (!kept) return std::unexpected(begun ? give_back(kept.error()) : kept.error());
  if (!begun && begun.error().error == ENOSYS && kept->user.empty()) {
    auto offer = offer_of_version_0(id);
    if (offer) first_release = offer->record;
    return offer;
  }
  if (!begun) return std::unexpected(begun.error());
  auto said = read(*begun, handover_offer_from);
  if (!said) return std::unexpected(give_back(said.error()));
  manager = said->manager;
  auto record = kept->user.empty() ? record_from_json(said->record) : std::move(kept);
  if (!record) return std::unexpected(give_back(record.error()));
  DeviceOffer offer{.record = std::move(*record),
                    .frontend_state = std::move(said->frontend_state),
                    .files = {},
                    .missing = std::move(said->missing)};
  while (offer.files.size() < said->files) {
    auto passed = ask_for_descriptors(id, files_request(offer.files.size()));
    if (passed && passed->descriptors.empty()) passed = fail(EINVAL, "its files did not come");
    if (!passed) return std::unexpected(give_back(passed.error()));
    std::ranges::move(passed->descriptors, std::back_inserter(offer.files));
  }
  step("files received");
  return offer;
}

Result<DeviceHandover> OldServer::let_go() {
  JsonValue request = {{"command", "hand_over"}};
  if (first_release) request.set("pid", getpid());
  auto given = ask_for_descriptors(id, request, kLetGoTimeout);
  if (!given) return std::unexpected(given.error());
  if (first_release) {
    auto handover = handover_of_version_0(*first_release, std::move(*given), manager);
    if (!handover) return std::unexpected(give_back(handover.error()));
    return handover;
  }
  auto said = read(given->body, given_device_from);
  if (!said) return std::unexpected(give_back(said.error()));
  return DeviceHandover{.frontend = {.state = std::move(said->frontend_state),
                                     .descriptors = std::move(given->descriptors)},
                        .stack_failed = said->stack_failed,
                        .failed_disks = std::move(said->failed_disks)};
}

// An old server that has died meanwhile need not be told.
Result<void> OldServer::commit() const {
  if (first_release) {
    await_end_of_version_0(*first_release);
    return {};
  }
  const auto told = ask(id, {{"command", "commit_handover"}});
  if (!told && told.error().error == EINVAL) {
    return fail(ECANCELED, "it took too long, and the old server goes on");
  }
  if (!told) spdlog::warn("the old server does not know that it may end: {}", told.error().text);
  return {};
}

Error OldServer::give_back(const Error& why) const {
  const auto told = ask(id, {{"command", "take_back"}});
  constexpr int kGone[] = {ESRCH, ENOENT, ECONNREFUSED, EPIPE};
  const bool goes_on = told || std::ranges::find(kGone, told.error().error) == std::end(kGone);
  return {
      why.error,
      fmt::format("{}: {}", goes_on ? "the old server goes on" : "the old server is gone as well",
                  why.text)};
}

}  // namespace sluice
