// Messages of a handover, as servers of versions 1 and 2 write them; recorded_version_0.hpp has
// those of version 0. Those of files and loop devices of version 1 were recorded; the others were
// composed from the sources of their version. Never change them: servers that still run when the
// next version is installed send exactly these.
#pragma once

#include <string_view>

namespace sluice::test {

// clang-format off
// --- Version 1, whose messages have no version number.

inline constexpr std::string_view kBeginVersion1 =
    R"({"command":"begin_handover","pid":41790,"scope":"4026531836 4026531834 a7acc606-)"
    R"(5cb4-4013-ad3a-37fce61296a2","started":152043})";

inline constexpr std::string_view kFuseOfferVersion1 =
    R"({"files":1,"frontend_state":"{\"at\":\"/srv/view.img\",\"attributes\":{\"accesse)"
    R"(d\":[1795936426,634362323],\"changed\":[1795936426,634362323],\"gid\":0,\"modifi)"
    R"(ed\":[1795936426,634362323],\"permissions\":384,\"uid\":0},\"backing_id\":0,\"by)"
    R"(_helper\":false,\"depth\":128,\"detached\":false,\"directory\":false,\"file_syst)"
    R"(em\":\"0:38 sluice:62befb18\",\"inode\":10960985,\"made\":true,\"max_io_bytes\":)"
    R"(524288,\"path\":\"copy\",\"queues\":1,\"size_bytes\":1048576}","manager":"","ok")"
    R"(:true,"record":"{\n  \"at\": \"/srv/view.img\",\n  \"block_bytes\": 512,\n  \"by)"
    R"(_helper\": false,\n  \"debug_mask\": 0,\n  \"depth\": 128,\n  \"file_system\": \)"
    R"("0:38 sluice:62befb18\",\n  \"files\": [\n    {\n      \"born_ns\": 179593642585)"
    R"(0863276,\n      \"is\": \"file 254:0 inode 10960982\"\n    }\n  ],\n  \"forced\")"
    R"(: false,\n  \"frontend\": \"fuse\",\n  \"id\": 0,\n  \"made\": true,\n  \"made_i)"
    R"(node\": 10960985,\n  \"max_io_bytes\": 524288,\n  \"mode\": \"copy\",\n  \"mode_)"
    R"(reason\": \"selected by name\",\n  \"name\": \"\",\n  \"path\": \"/srv/view.img\)"
    R"(",\n  \"pid\": 367,\n  \"pid_scope\": \"4026531836 4026531834 a7acc606-5cb4-4013)"
    R"(-ad3a-37fce61296a2\",\n  \"pid_started\": 649202,\n  \"queues\": 1,\n  \"read_on)"
    R"(ly\": false,\n  \"recovery\": \"none\",\n  \"sequence\": 0,\n  \"size_bytes\": 1)"
    R"(048576,\n  \"spec\": {\n    \"file\": \"/srv/disk.img\",\n    \"target\": \"loop)"
    R"(\"\n  },\n  \"swap_risks\": [\n    \"this server cannot become an I/O flusher (O)"
    R"(peration not permitted): it needs CAP_SYS_RESOURCE and Linux 5.6\",\n    \"this )"
    R"(server may be killed when memory runs out: it needs CAP_SYS_RESOURCE to change i)"
    R"(ts oom_score_adj\"\n  ],\n  \"threads\": [\n    375\n  ],\n  \"unprivileged\": f)"
    R"(alse\n}","version":"0.1.0"})";

inline constexpr std::string_view kFuseGivenVersion1 =
    R"({"ok":true,"stack_failed":false,"state":"{\"at\":\"/srv/view.img\",\"attributes\)"
    R"(":{\"accessed\":[1795936426,634362323],\"changed\":[1795936426,634362323],\"gid\)"
    R"(":0,\"modified\":[1795936426,634362323],\"permissions\":384,\"uid\":0},\"backing)"
    R"(_id\":0,\"by_helper\":false,\"depth\":128,\"detached\":false,\"directory\":false)"
    R"(,\"file_system\":\"0:38 sluice:62befb18\",\"inode\":10960985,\"made\":true,\"max)"
    R"(_io_bytes\":524288,\"path\":\"copy\",\"queues\":1,\"size_bytes\":1048576}","vers)"
    R"(ion":"0.1.0"})";

inline constexpr std::string_view kLoopOfferVersion1 =
    R"({"files":1,"frontend_state":"{\"direct_io\":true,\"file\":\"{\\\"at\\\":\\\"\\\")"
    R"(,\\\"attributes\\\":{\\\"accessed\\\":[1795936452,754803790],\\\"changed\\\":[17)"
    R"(95936452,754803790],\\\"gid\\\":0,\\\"modified\\\":[1795936452,754803790],\\\"pe)"
    R"(rmissions\\\":384,\\\"uid\\\":0},\\\"backing_id\\\":0,\\\"by_helper\\\":false,\\)"
    R"(\"depth\\\":128,\\\"detached\\\":true,\\\"directory\\\":false,\\\"file_system\\\)"
    R"(":\\\"0:38 sluice:4e34626b\\\",\\\"inode\\\":0,\\\"made\\\":false,\\\"max_io_byt)"
    R"(es\\\":524288,\\\"path\\\":\\\"copy\\\",\\\"queues\\\":1,\\\"size_bytes\\\":1048)"
    R"(576}\",\"path\":\"/dev/loop0\",\"sequence\":181}","manager":"","ok":true,"record)"
    R"(":"{\n  \"at\": \"\",\n  \"block_bytes\": 512,\n  \"by_helper\": false,\n  \"deb)"
    R"(ug_mask\": 0,\n  \"depth\": 128,\n  \"file_system\": \"0:38 sluice:4e34626b\",\n)"
    R"(  \"files\": [\n    {\n      \"born_ns\": 1795936425850863276,\n      \"is\": \")"
    R"(file 254:0 inode 10960982\"\n    }\n  ],\n  \"forced\": false,\n  \"frontend\": )"
    R"(\"loop\",\n  \"id\": 0,\n  \"made\": false,\n  \"made_inode\": 0,\n  \"max_io_by)"
    R"(tes\": 524288,\n  \"mode\": \"copy\",\n  \"mode_reason\": \"selected by name\",\)"
    R"(n  \"name\": \"\",\n  \"path\": \"/dev/loop0\",\n  \"pid\": 631,\n  \"pid_scope\)"
    R"(": \"4026531836 4026531834 a7acc606-5cb4-4013-ad3a-37fce61296a2\",\n  \"pid_star)"
    R"(ted\": 651812,\n  \"queues\": 1,\n  \"read_only\": false,\n  \"recovery\": \"non)"
    R"(e\",\n  \"sequence\": 181,\n  \"size_bytes\": 1048576,\n  \"spec\": {\n    \"fil)"
    R"(e\": \"/srv/disk.img\",\n    \"target\": \"loop\"\n  },\n  \"swap_risks\": [\n  )"
    R"(  \"this server cannot become an I/O flusher (Operation not permitted): it needs)"
    R"( CAP_SYS_RESOURCE and Linux 5.6\",\n    \"this server may be killed when memory )"
    R"(runs out: it needs CAP_SYS_RESOURCE to change its oom_score_adj\"\n  ],\n  \"thr)"
    R"(eads\": [\n    641\n  ],\n  \"unprivileged\": false\n}","version":"0.1.0"})";

inline constexpr std::string_view kLoopGivenVersion1 =
    R"({"ok":true,"stack_failed":false,"state":"{\"direct_io\":true,\"file\":\"{\\\"at\)"
    R"(\\":\\\"\\\",\\\"attributes\\\":{\\\"accessed\\\":[1795936452,754803790],\\\"cha)"
    R"(nged\\\":[1795936452,754803790],\\\"gid\\\":0,\\\"modified\\\":[1795936452,75480)"
    R"(3790],\\\"permissions\\\":384,\\\"uid\\\":0},\\\"backing_id\\\":0,\\\"by_helper\)"
    R"(\\":false,\\\"depth\\\":128,\\\"detached\\\":true,\\\"directory\\\":false,\\\"fi)"
    R"(le_system\\\":\\\"0:38 sluice:4e34626b\\\",\\\"inode\\\":0,\\\"made\\\":false,\\)"
    R"(\"max_io_bytes\\\":524288,\\\"path\\\":\\\"copy\\\",\\\"queues\\\":1,\\\"size_by)"
    R"(tes\\\":1048576}\",\"path\":\"/dev/loop0\",\"sequence\":181}","version":"0.1.0"})";

inline constexpr std::string_view kUblkOfferVersion1 =
    R"({"files":0,"frontend_state":"","manager":"","ok":true,"record":"{\n  \"at\": \"\)"
    R"(",\n  \"block_bytes\": 512,\n  \"by_helper\": false,\n  \"debug_mask\": 0,\n  \")"
    R"(depth\": 128,\n  \"file_system\": \"\",\n  \"files\": [],\n  \"forced\": false,\)"
    R"(n  \"frontend\": \"ublk\",\n  \"id\": 2,\n  \"made\": false,\n  \"made_inode\": )"
    R"(0,\n  \"max_io_bytes\": 524288,\n  \"mode\": \"auto\",\n  \"mode_reason\": \"\",)"
    R"(\n  \"name\": \"\",\n  \"path\": \"/dev/ublkb2\",\n  \"pid\": 41744,\n  \"pid_sc)"
    R"(ope\": \"4026531836 4026531834 a7acc606-5cb4-4013-ad3a-37fce61296a2\",\n  \"pid_)"
    R"(started\": 151876,\n  \"queues\": 2,\n  \"read_only\": false,\n  \"recovery\": \)"
    R"("wait\",\n  \"reserve_bytes\": 8388608,\n  \"sequence\": 0,\n  \"size_bytes\": 2)"
    R"(68435456000,\n  \"spec\": {\n    \"target\": \"null\"\n  },\n  \"swap_risks\": [)"
    R"(],\n  \"threads\": [\n    41751,\n    41752\n  ],\n  \"unprivileged\": false\n}")"
    R"(,"version":"0.1.0"})";

inline constexpr std::string_view kUblkGivenVersion1 =
    R"({"ok":true,"stack_failed":false,"state":"","version":"0.1.0"})";

// --- Version 2.

inline constexpr std::string_view kBeginVersion2 =
    R"({"command":"begin_handover","pid":41790,"started":152043,"scope":"a.b","handover)"
    R"(_version":2})";

inline constexpr std::string_view kOfferVersion2 =
    R"({"record":"{}","frontend_state":"state","files":3,"manager":"/run/notify","hando)"
    R"(ver_version":2})";

inline constexpr std::string_view kGivenVersion2 =
    R"({"state":"state","stack_failed":true,"handover_version":2})";

// Of an NBD export; only that of hand_over has connections.
inline constexpr std::string_view kNbdStateVersion2 =
    R"({"listeners":[{"address":"unix:/run/disk.sock","inode":4711},{"address":"tcp:[::)"
    R"(1]:10809","inode":0}],"export":"disk","description":"of a guest","queues":2,"dep)"
    R"(th":64,"allowed":"10.0.0.0/8\n::1","tls":"on","tls_certificates":"/etc/pki","tl)"
    R"(s_psk":"","tls_verify_peer":true,"until_deserted":true,"exports":[{"name":"disk",)"
    R"("size_bytes":67108864,"flags":32}],"connections":)"
    R"([{"queue":1,"export":"disk","size_bytes":33554432,"flags":3949,"headers":"extend)"
    R"(ed","contexts":[{"id":1,"name":"base:allocation"}],"unread":31},{"new":true,"que)"
    R"(ue":0}],"clients_max":100,"handover_version":2})";

// clang-format on

}  // namespace sluice::test
