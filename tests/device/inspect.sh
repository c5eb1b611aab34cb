#!/usr/bin/env bash
# `sluice inspect` shows the requests in flight, and the target that currently serves each.
. "$(dirname "$0")/lib.sh"

main() {
    run_case "nothing is in flight on an idle device" idle
    run_case "a request that waits in a target" waiting
    run_case "a request that was divided" divided
    run_case "a request with the kernel" linked
    run_case "JSON" as_json
    run_case "under load" under_load
    finish
}

idle() {
    make_stack loop 64M
    add "${STACK[@]}" -q 2
    dd if="$DEV" of=/dev/null bs=64k count=100 iflag=direct status=none
    sluice inspect -n "$ID" > shown
    same "requests in flight" "$(cat shown)" ""
}

# shows PATTERN: the output of inspect matches.
shows() {
    sluice inspect -n "$ID" > shown
    grep -qE -- "$1" shown
}

waiting() {
    truncate -s 64M disk
    add 'fault(disk, delay=3s, ops=write)'
    dd if=/dev/zero of="$DEV" bs=4k count=1 seek=2 oflag=direct status=none &
    wait_for 2 shows '^queue 0 tag [0-9]+ write 4096 bytes at 8192, [0-9.]+(us|ms|s): fault$'
    sluice stat -n "$ID" > shown
    grep -q ', 1 in flight$' shown || fail "$(cat shown)"
    wait $!
    sluice inspect -n "$ID" > shown
    same "requests in flight" "$(cat shown)" ""
}

divided() {
    truncate -s 64M disk other
    add 'stripe(disk, fault(other, delay=3s), chunk=4k)'
    dd if="$DEV" of=/dev/null bs=8k count=1 iflag=direct status=none &
    # The part on the first member is done; the rest is on the other.
    wait_for 2 shows \
        '^queue 0 tag [0-9]+ read 8192 bytes at 0, .*: stripe > fault read 4096 bytes at 0$'
    wait $!
}

# The backing is a device that delays its answer.
linked() {
    add 'fault(mem:64M, delay=3s, ops=read, offset=32M, length=4k)'
    add "$DEV"
    dd if="$DEV" of=/dev/null bs=4k count=1 skip=8192 iflag=direct status=none &
    wait_for 2 shows \
        '^queue 0 tag [0-9]+ read 4096 bytes at 33554432, .*: loop\(ublkb[0-9]+\)$'
    wait $!
    sluice inspect -n "$ID" > shown
    same "requests in flight" "$(cat shown)" ""
}

as_json() {
    truncate -s 64M disk
    add 'fault(disk, delay=3s, ops=write)'
    dd if=/dev/zero of="$DEV" bs=4k count=1 oflag=direct status=none &
    wait_for 2 shows ': fault$'
    sluice inspect -n "$ID" --json > shown
    grep -q '"op": "write"' shown
    grep -q '"length": 4096' shown
    wait $!
}

under_load() {
    local reader i
    make_stack stripe 64M
    add "${STACK[@]}" -q 2
    while dd if="$DEV" of=/dev/null bs=256k iflag=direct status=none; do :; done &
    reader=$!
    for i in $(up_to 30 100); do sluice inspect -n "$ID" > shown; done
    kill $reader
    wait $reader || true
}

main
