#!/usr/bin/env bash
# `sluice ctl`: the targets of a device in use are listed with their verbs, and carry these out.
# shellcheck source=tests/interop/lib_fuse.sh
. "$(dirname "$0")/lib_fuse.sh"

main() {
    begin_plain
    run_case "the targets of a device" targets
    run_case "a verb reaches its target while the device is in use" verb
    run_case "what a target does not know is refused, and changes nothing" odd
    finish
}

targets() {
    "$SLUICE" add --quiet --frontend fuse --at "$CASE/disk" \
        'linear(stripe(null:1M, mem:1M), fault(mem:1M))' > /dev/null
    "$SLUICE" ctl disk > out
    cat > expected <<'END'
/         linear
/0        stripe
/0/0      null
/0/1      mem
/1        fault                     power_cut
/1/0      mem
END
    diff expected out
    "$SLUICE" ctl disk --json > out
    python3 - out <<'END' || fail "$(cat out)"
import json, sys
nodes = json.load(open(sys.argv[1]))
assert [each["path"] for each in nodes] == ["/", "/0", "/0/0", "/0/1", "/1", "/1/0"], nodes
assert nodes[4] == {"path": "/1", "target": "fault", "name": "fault", "verbs": ["power_cut"]}, nodes
END
}

verb() {
    "$SLUICE" add --quiet -n 5 --frontend fuse --at "$CASE/disk" \
        'linear(mem:1M, fault(mem:1M, cache=volatile))' > /dev/null
    dd if=/dev/urandom of=disk bs=4k count=512 oflag=direct conv=notrunc status=none
    same "answer" "$("$SLUICE" ctl 5 /1 power_cut)" ""
    same "answer as JSON" "$("$SLUICE" ctl -n 5 /1 power_cut --json)" "{}"
    dd if=disk of=/dev/null bs=4k count=256 iflag=direct status=none
    ! dd if=disk of=/dev/null bs=4k skip=256 count=1 iflag=direct status=none 2> /dev/null ||
        fail "it has power still"
    "$SLUICE" events -n 5 | grep -q 'fault: failed: its power is cut' || fail "no event"
    "$SLUICE" list -n 5 | grep -q "its power is cut" || fail "$("$SLUICE" list -n 5)"
}

odd() {
    "$SLUICE" add --quiet -n 5 --frontend fuse --at "$CASE/disk" 'fault(mem:1M)' > /dev/null
    refused "needs a VERB" "$SLUICE" ctl 5 /
    refused "there is no target '/7' in device 5: 'sluice ctl 5' lists the paths" \
        "$SLUICE" ctl 5 /7 power_cut
    refused "there is no target '../x'" "$SLUICE" ctl 5 ../x power_cut
    refused "a target 'mem' has no verbs" "$SLUICE" ctl 5 /0 power_cut
    refused "has no verb 'power_on': it has power_cut" "$SLUICE" ctl 5 / power_on
    refused "power_cut" "$SLUICE" ctl 5 / power_cut now=yes
    refused "power_cut" "$SLUICE" ctl 5 / power_cut a.img
    refused "unknown option '--hard'" "$SLUICE" ctl 5 / power_cut --hard
    dd if=disk of=/dev/null bs=4k count=1 iflag=direct status=none
}

main
