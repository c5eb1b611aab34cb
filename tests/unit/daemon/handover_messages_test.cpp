// The handover messages of servers of every version are understood.
#include "daemon/handover_messages.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "daemon/control_request.hpp"
#include "daemon/state.hpp"
#include "frontend/fuse/mount_state.hpp"
#include "frontend/loop/loop_device.hpp"
#include "frontend/nbd/handover_state.hpp"
#include "frontend/registry.hpp"
#include "support/recorded_handovers.hpp"
#include "support/recorded_version_0.hpp"
#include "target/registry.hpp"
#include "target/stack.hpp"

namespace sluice::test {
namespace {

JsonValue reply(std::string_view line) {
  const auto body = parse_control_reply(line);
  EXPECT_TRUE(body) << body.error().text;
  return body.value_or(JsonValue());
}

JsonValue request(std::string_view line) {
  const auto read = parse_control_request(line);
  EXPECT_TRUE(read) << read.error().text;
  return read ? read->body : JsonValue();
}

TEST(HandoverMessages, TheRequestOfVersion1IsUnderstood) {
  const ProcessMark mark = handover_request_from(request(kBeginVersion1)).successor;
  EXPECT_EQ(mark.pid, 41790);
  EXPECT_EQ(mark.started, 152043U);
  EXPECT_EQ(mark.scope, "4026531836 4026531834 a7acc606-5cb4-4013-ad3a-37fce61296a2");
  EXPECT_EQ(files_wanted_from(request(R"({"command":"pass_files","from":253})")), 253U);
}

TEST(HandoverMessages, AFileOfVersion1IsTakenOver) {
  const auto offer = handover_offer_from(reply(kFuseOfferVersion1));
  ASSERT_TRUE(offer) << offer.error().text;
  EXPECT_EQ(offer->version, 1U);
  EXPECT_EQ(offer->files, 1U);
  const auto record = record_from_json(offer->record);
  ASSERT_TRUE(record) << record.error().text;
  EXPECT_EQ(record->frontend, "fuse");
  EXPECT_TRUE(record->traces.flag("made"));
  EXPECT_GT(record->traces.number("made_inode"), 0U);
  const auto state = fuse::mount_state_from_json(offer->frontend_state);
  ASSERT_TRUE(state) << state.error().text;
  EXPECT_EQ(state->at, record->at);
  EXPECT_EQ(state->agreement.path, fuse::DataPath::copy);
  EXPECT_EQ(state->file_system, record->traces.text("file_system"));
  const auto given = given_device_from(reply(kFuseGivenVersion1));
  ASSERT_TRUE(given) << given.error().text;
  EXPECT_FALSE(given->stack_failed);
  EXPECT_TRUE(fuse::mount_state_from_json(given->frontend_state));
}

TEST(HandoverMessages, ALoopDeviceOfVersion1IsTakenOver) {
  const auto offer = handover_offer_from(reply(kLoopOfferVersion1));
  ASSERT_TRUE(offer) << offer.error().text;
  const auto record = record_from_json(offer->record);
  ASSERT_TRUE(record) << record.error().text;
  EXPECT_EQ(record->frontend, "loop");
  EXPECT_GT(record->traces.number("sequence"), 0U);
  const auto stack = Stack::open(Spec{.target = "null"}, false);
  ASSERT_TRUE(stack) << stack.error().text;
  const auto adopted = loop::LoopDevice::adopt(**stack, offer->frontend_state);
  ASSERT_TRUE(adopted) << adopted.error().text;
  EXPECT_EQ((*adopted)->path(), record->path);
  EXPECT_EQ((*adopted)->traces().number("sequence"), record->traces.number("sequence"));
  const auto given = given_device_from(reply(kLoopGivenVersion1));
  ASSERT_TRUE(given) << given.error().text;
  EXPECT_TRUE(loop::LoopDevice::adopt(**stack, given->frontend_state));
}

TEST(HandoverMessages, AUblkDeviceOfVersion1IsTakenOver) {
  const auto offer = handover_offer_from(reply(kUblkOfferVersion1));
  ASSERT_TRUE(offer) << offer.error().text;
  EXPECT_EQ(offer->frontend_state, "");
  const auto record = record_from_json(offer->record);
  ASSERT_TRUE(record) << record.error().text;
  EXPECT_EQ(record->recovery, "wait");
  const auto given = given_device_from(reply(kUblkGivenVersion1));
  ASSERT_TRUE(given) << given.error().text;
  EXPECT_EQ(given->frontend_state, "");
}

TEST(HandoverMessages, TheFirstReleaseDoesNotKnowThem) {
  const auto refused = parse_control_reply(kBeginRefusedVersion0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().error, ENOSYS);
}

Descriptor open_path(const char* path, int flags) {
  return Descriptor(open(path, flags | O_CLOEXEC));
}

TEST(HandoverMessages, AFileOfTheFirstReleaseIsTakenOver) {
  Handover handover{.state = reply(kFuseGivenVersion0).at("state").get<std::string>(),
                    .descriptors = {}};
  handover.descriptors.push_back(open_path("/dev/null", O_RDWR));
  handover.descriptors.push_back(open_path("/proc/self/ns/mnt", O_RDONLY));
  handover.descriptors.push_back(open_path("/", O_PATH | O_DIRECTORY));
  const auto translated = find_frontend("fuse")->from_version_0(std::move(handover));
  ASSERT_TRUE(translated) << translated.error().text;
  EXPECT_EQ(translated->descriptors.size(), 2U);
  const auto state = fuse::mount_state_from_json(translated->state);
  ASSERT_TRUE(state) << state.error().text;
  EXPECT_EQ(state->file_system, "0:38 sluice");
  EXPECT_EQ(state->at, "/srv/view.img");
  EXPECT_TRUE(state->made);
  EXPECT_EQ(state->inode, 0U);
  EXPECT_EQ(state->depth, 128);
  EXPECT_EQ(state->attributes.permissions, 0600U);
  EXPECT_FALSE(state->size_bytes);
}

TEST(HandoverMessages, ALoopDeviceOfTheFirstReleaseIsTakenOver) {
  Handover handover{.state = reply(kLoopGivenVersion0).at("state").get<std::string>(),
                    .descriptors = {}};
  handover.descriptors.push_back(open_path("/dev/null", O_RDWR));  // /dev/fuse
  handover.descriptors.push_back(open_path("/dev/null", O_RDWR));  // /dev/loop0
  const auto translated = find_frontend("loop")->from_version_0(std::move(handover));
  ASSERT_TRUE(translated) << translated.error().text;
  EXPECT_EQ(translated->descriptors.size(), 1U);
  const auto stack = Stack::open(Spec{.target = "null"}, false);
  ASSERT_TRUE(stack) << stack.error().text;
  const auto adopted = loop::LoopDevice::adopt(**stack, translated->state);
  ASSERT_TRUE(adopted) << adopted.error().text;
  EXPECT_EQ((*adopted)->path(), "/dev/loop0");
}

TEST(HandoverMessages, WhatTheFirstReleaseNeverSaidIsNotTakenOver) {
  for (const char* const name : {"fuse", "loop"}) {
    const auto translate = find_frontend(name)->from_version_0;
    for (const char* const state : {"", "{}", R"({"path":"/dev/loop0","file":"{}"})"}) {
      EXPECT_EQ(translate({.state = state, .descriptors = {}}).error().error, EINVAL) << state;
    }
    const auto without =
        reply(name == std::string_view("fuse") ? kFuseGivenVersion0 : kLoopGivenVersion0);
    EXPECT_EQ(translate({.state = without.at("state").get<std::string>(), .descriptors = {}})
                  .error()
                  .error,
              EINVAL);
  }
}

// They are in /run when the program is replaced.
TEST(HandoverMessages, RecordsOfTheFirstReleaseAreRead) {
  for (const std::string_view text :
       {kUblkRecordVersion0, kFuseRecordVersion0, kLoopRecordVersion0}) {
    const auto record = record_from_json(text);
    ASSERT_TRUE(record) << record.error().text;
    EXPECT_EQ(record->spec.target, record->frontend == "loop" ? "loop" : "null");
    EXPECT_EQ(record->pid_scope, "");
  }
  EXPECT_TRUE(record_from_json(kFuseRecordVersion0)->traces.flag("made"));
}

TEST(HandoverMessages, OursSayTheirVersion) {
  const auto version = [](const JsonValue& message) {
    return message.at("handover_version").get<uint32_t>();
  };
  EXPECT_EQ(version(to_json(HandoverRequest{})), 2U);
  EXPECT_EQ(version(to_json(HandoverOffer{})), 2U);
  EXPECT_EQ(version(to_json(GivenDevice{})), 2U);
  EXPECT_EQ(version(*parse_json_tree(fuse::to_json({}), kMessageNestingMax)), 2U);
}

// Today's messages must not change: later versions will get them from servers of today.
TEST(HandoverMessages, OursAreAsTheyWere) {
  const HandoverOffer offer{
      .record = "{}", .frontend_state = "state", .files = 3, .manager = "/run/notify"};
  EXPECT_EQ(to_text(to_json(offer)), kOfferVersion2);
  EXPECT_EQ(to_text(to_json(GivenDevice{.frontend_state = "state", .stack_failed = true})),
            kGivenVersion2);
  const ProcessMark mark{.pid = 41790, .started = 152043, .scope = "a.b"};
  EXPECT_EQ(to_text(to_json(HandoverRequest{.successor = mark})), kBeginVersion2);
}

TEST(HandoverMessages, TheFailedDisksAreNamed) {
  const GivenDevice given{.frontend_state = "", .stack_failed = true, .failed_disks = {0, 2}};
  const auto read = given_device_from(to_json(given));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->failed_disks, given.failed_disks);
  EXPECT_TRUE(given_device_from({{"stack_failed", true}})->failed_disks.empty());
}

TEST(HandoverMessages, AYoungerServerIsNotTakenOverFrom) {
  const auto offer = handover_offer_from({{"handover_version", 3}, {"record", "{}"}});
  ASSERT_FALSE(offer);
  EXPECT_EQ(offer.error().error, EOPNOTSUPP);
  EXPECT_NE(offer.error().text.find("younger sluice"), std::string::npos);
  EXPECT_EQ(given_device_from({{"handover_version", 3}}).error().error, EOPNOTSUPP);
  EXPECT_EQ(fuse::mount_state_from_json(R"({"handover_version":3})").error().error, EOPNOTSUPP);
}

TEST(HandoverMessages, AYoungerServerMayTakeOver) {
  const JsonValue message = {
      {"command", "begin_handover"}, {"handover_version", 3}, {"pid", 7}, {"started", 8}};
  EXPECT_EQ(handover_request_from(message).successor.pid, 7);
}

TEST(HandoverMessages, WhatIsNoneIsAMismatch) {
  EXPECT_THROW(handover_request_from({{"command", "begin_handover"}}), JsonMismatch);
  EXPECT_THROW(handover_request_from({{"pid", "7"}}), JsonMismatch);
  EXPECT_THROW(files_wanted_from({{"from", -1}}), JsonMismatch);
  EXPECT_THROW((void)handover_offer_from({{"files", 1}}), JsonMismatch);
  EXPECT_THROW((void)given_device_from({{"state", 1}}), JsonMismatch);
  EXPECT_EQ(fuse::mount_state_from_json("{}").error().error, EINVAL);
  EXPECT_EQ(fuse::mount_state_from_json("").error().error, EINVAL);
}

TEST(HandoverMessages, APathThatIsNoUtf8IsKept) {
  fuse::MountState state;
  state.at = "/a\xff";
  const auto read = fuse::mount_state_from_json(fuse::to_json(state));
  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(read->at, "/a\xff");
}

TEST(HandoverMessages, AnExportOfVersion2IsTakenOver) {
  const auto state = nbd::export_state_from_json(kNbdStateVersion2);
  ASSERT_TRUE(state) << state.error().text;
  ASSERT_EQ(state->listeners.size(), 2U);
  EXPECT_EQ(state->listeners[0].address.socket, "/run/disk.sock");
  EXPECT_EQ(state->listeners[0].inode, 4711U);
  EXPECT_EQ(state->listeners[1].address.port, 10809U);
  EXPECT_EQ(state->name, "disk");
  EXPECT_EQ(state->description, "of a guest");
  EXPECT_EQ(state->queues, 2);
  EXPECT_EQ(state->depth, 64);
  EXPECT_EQ(state->allowed, "10.0.0.0/8\n::1");
  EXPECT_EQ(state->clients, 100U);
  EXPECT_EQ(state->tls, nbd::TlsPolicy::offered);
  EXPECT_EQ(state->tls_files.certificates, "/etc/pki");
  EXPECT_TRUE(state->tls_files.verify_peer);
  EXPECT_TRUE(state->until_deserted);
  ASSERT_EQ(state->exports.size(), 1U);
  EXPECT_EQ(state->exports[0].name, "disk");
  EXPECT_EQ(state->exports[0].size, 64U << 20);
  EXPECT_EQ(state->exports[0].flags, nbd::kSendTrim);
  ASSERT_EQ(state->connections.size(), 2U);
  const nbd::ClientState& client = state->connections[0];
  EXPECT_EQ(client.queue, 1);
  EXPECT_EQ(client.export_name, "disk");
  EXPECT_EQ(client.size, 32U << 20);
  EXPECT_EQ(client.headers, nbd::Headers::extended);
  ASSERT_EQ(client.contexts.size(), 1U);
  EXPECT_EQ(client.contexts[0].name, "base:allocation");
  EXPECT_EQ(client.unread.size(), 31U);
  EXPECT_TRUE(state->connections[1].is_new);
  EXPECT_EQ(nbd::to_json(*state), kNbdStateVersion2) << "as this version writes it";
}

}  // namespace
}  // namespace sluice::test
