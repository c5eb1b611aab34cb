// Messages of a handover, and records, as servers of version 0, the first release, write them. The
// records in one line were composed from its sources, without white space; all others were
// recorded. Never change them: such servers may still run.
#pragma once

#include <string_view>

namespace sluice::test {

// clang-format off
inline constexpr std::string_view kBeginRefusedVersion0 =
    R"({"errno":38,"error":"this server, of sluice 0.1.0, does not know the command 'be)"
    R"(gin_handover'","ok":false,"version":"0.1.0"})";

inline constexpr std::string_view kUblkRecordVersion0 =
    R"({"at":"","block_bytes":512,"debug_mask":0,"depth":128,"frontend":"ublk","id":0,")"
    R"(made":false,"max_io_bytes":524288,"mode":"auto","mode_reason":"","path":"/dev/ub)"
    R"(lkb0","pid":3021,"pid_started":88123,"queues":1,"read_only":false,"recovery":"wa)"
    R"(it","size_bytes":268435456000,"spec":{"target":"null"},"threads":[3025],"unprivi)"
    R"(leged":false})";

inline constexpr std::string_view kFuseRecordVersion0 =
    R"({"at":"/srv/view.img","block_bytes":512,"debug_mask":0,"depth":128,"frontend":"f)"
    R"(use","id":1,"made":true,"max_io_bytes":524288,"mode":"copy","mode_reason":"","pa)"
    R"(th":"/srv/view.img","pid":3021,"pid_started":88123,"queues":1,"read_only":false,)"
    R"("recovery":"none","size_bytes":1048576,"spec":{"size":"1M","target":"null"},"thr)"
    R"(eads":[3025],"unprivileged":false})";

inline constexpr std::string_view kLoopRecordVersion0 = R"({
  "at": "",
  "block_bytes": 512,
  "debug_mask": 0,
  "depth": 128,
  "frontend": "loop",
  "id": 0,
  "made": false,
  "max_io_bytes": 524288,
  "mode": "copy",
  "mode_reason": "asked for by name",
  "path": "/dev/loop0",
  "pid": 21257,
  "pid_started": 131962,
  "queues": 1,
  "read_only": false,
  "recovery": "none",
  "size_bytes": 1048576,
  "spec": {
    "file": "/srv/disk.img",
    "target": "loop"
  },
  "threads": [
    21258
  ],
  "unprivileged": false
}
)";

inline constexpr std::string_view kFuseGivenVersion0 =
    R"({"manager":"","ok":true,"state":"{\"at\":\"/srv/view.img\",\"attributes\":{\"a)"
    R"(ccessed\":[1795982155,992111017],\"changed\":[1795982155,992111017],\"gid\":0,)"
    R"(\"modified\":[1795982155,992111017],\"permissions\":384,\"uid\":0},\"backing_i)"
    R"(d\":0,\"by_helper\":false,\"depth\":128,\"detached\":false,\"device\":\"0:38\")"
    R"(,\"directory\":false,\"made\":true,\"max_io_bytes\":524288,\"path\":\"copy\",\)"
    R"("queues\":1}","version":"0.1.0"})";

inline constexpr std::string_view kLoopGivenVersion0 =
    R"({"manager":"","ok":true,"state":"{\"file\":\"{\\\"at\\\":\\\"\\\",\\\"attribut)"
    R"(es\\\":{\\\"accessed\\\":[1795982160,664915036],\\\"changed\\\":[1795982160,66)"
    R"(4915036],\\\"gid\\\":0,\\\"modified\\\":[1795982160,664915036],\\\"permissions)"
    R"(\\\":384,\\\"uid\\\":0},\\\"backing_id\\\":0,\\\"by_helper\\\":false,\\\"depth)"
    R"(\\\":128,\\\"detached\\\":true,\\\"device\\\":\\\"\\\",\\\"directory\\\":false)"
    R"(,\\\"made\\\":false,\\\"max_io_bytes\\\":524288,\\\"path\\\":\\\"copy\\\",\\\")"
    R"(queues\\\":1}\",\"path\":\"/dev/loop0\"}","version":"0.1.0"})";
// clang-format on

}  // namespace sluice::test
