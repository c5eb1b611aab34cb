#!/usr/bin/env bash
# A leg of a mirror that gets writes after they were acknowledged (write_behind), over NBD with a
# delay: latencies, verified loads, an export that is killed, servers that are killed or replaced,
# a link that is too slow for a stop, and the promotion of what the leg has.
# seconds: 40
# shellcheck source=tests/interop/lib_mirror.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_mirror.sh"

main() {
    begin
    for tool in fio nbdkit python3; do
        command -v $tool > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    run_case "latency" with_servers latency
    run_case "an export that is killed" with_servers export_is_killed
    run_case "killed with writes that wait" with_servers killed
    run_case "promoted" with_servers promoted
    run_case "upgraded" with_servers upgraded
    run_case "a link that is too slow" with_servers link_is_slow
    run_case "bad words" bad_words
    finish
}

# far OPTION...: an nbdkit of b.img on the socket `sock`. Sets KIT.
far() {
    rm -f sock
    nbdkit -f -U sock "$@" 2> kit.log &
    KIT=$!
    appears sock
}

delayed() {
    far --filter=delay file b.img rdelay=20ms wdelay=20ms
}

serve_behind() {
    serve "mirror(a.img, nbd($(uri), reconnect=1s, timeout=${TIMEOUT:-5s}), write_behind=2)" \
        --mode copy "$@"
}

nothing_waits() {
    [ "$(number write_behind_bytes)" = 0 ] && [ "$(number legs_following)" = 1 ]
}

is_quiet() {
    nothing_waits && [ "$(number dirty_bytes)" = 0 ]
}

has_lost_the_leg() {
    [ "$(number legs_following)" = 0 ]
}

# The leg takes 300 ms for a write; nobody waits for it, however busy the disk of the other one is.
latency() {
    make_mirror
    far --filter=delay file b.img wdelay=300ms
    serve_behind
    fio --name=sync --filename=disk --ioengine=psync --direct=1 --rw=randwrite --bs=4k --size=16M \
        --number_ios=20 --fsync=1 --output=fio.json --output-format=json
    python3 -c '
import json
job = json.load(open("fio.json"))["jobs"][0]
worst = max(job["write"]["clat_ns"]["percentile"]["50.000000"],
            job["sync"]["lat_ns"]["percentile"]["50.000000"]) / 1e6
assert worst < 200, f"half of the writes or flushes take more than {worst} ms"'
    [ "$(number write_behind_copied_bytes)" -gt 0 ] || fail "$(cat stat.txt)"
    wait_until nothing_waits
    ctl scrub
    stop_server
    same_legs
}

export_is_killed() {
    make_mirror
    delayed
    serve_behind
    load 5
    sleep 1
    end_kit
    wait_until has_lost_the_leg
    "$SLUICE" mirror examine a.img > examine.txt
    grep -q '2 .*: *out\|, out: ' examine.txt || fail "$(cat examine.txt)"
    delayed
    ctl readd 2 2> readd.txt || true    # it may be back by itself
    load_is_well
    wait_until nothing_waits
    stop_server
    same_legs
}

# What was acknowledged is there, and the leg gets it from the other one.
killed() {
    make_mirror
    delayed
    serve_behind
    dd if=/dev/urandom of=data.bin bs=1M count=20 status=none
    dd if=data.bin of=disk bs=64k conv=notrunc,fsync status=none
    [ "$(number write_behind_bytes)" -gt 0 ] || fail "nothing waits: $(cat stat.txt)"
    kill_server
    serve_behind
    cmp -n $((20 << 20)) data.bin disk
    wait_until is_quiet
    stop_server
    same_legs
}

# Every flush ends one number: the leg has all numbers up to one, and none after it.
promoted() {
    make_mirror
    delayed
    serve_behind
    python3 -c '
import os, struct
file = os.open("disk", os.O_RDWR)
for number in range(1, 401):
    os.pwrite(file, struct.pack("<Q", number) * 512, number * 65536)
    os.fsync(file)'
    [ "$(number write_behind_bytes)" -gt 0 ] || fail "nothing waits: $(cat stat.txt)"
    kill_server
    end_kit
    mv a.img lost.img
    refused "may lack writes" serve "mirror(b.img, degraded)"
    "$SLUICE" mirror promote b.img > promote.txt 2>&1
    serve "mirror(b.img)"
    python3 -c '
import struct
with open("disk", "rb") as file:
    there = [file.seek(number * 65536) and file.read(4096) == struct.pack("<Q", number) * 512
             for number in range(1, 401)]
count = there.index(False)
assert count > 0 and not any(there[count:]), f"{count} numbers, and then others: {there}"'
    stop_server
    mv lost.img a.img
    serve "mirror(a.img, b.img)"
    wait_until is_whole 2
    stop_server
    same_legs
}

upgraded() {
    make_mirror
    delayed
    serve_behind -q 2
    load 4
    for _ in 1 2; do
        sleep 0.5
        "$SLUICE" upgrade -n "$ID" > upgrade.txt
        note_added
        SERVER=$(field pid)
    done
    load_is_well
    wait_until nothing_waits
    stop_server
    same_legs
}

# The stop ends in time, and leaves to the next start what the leg lacks.
link_is_slow() {
    make_mirror
    far --filter=rate file b.img rate=16M
    TIMEOUT=30s serve_behind
    dd if=/dev/urandom of=data.bin bs=1M count=40 status=none
    dd if=data.bin of=disk bs=1M conv=notrunc,fsync status=none
    SECONDS=0
    "$SLUICE" del -n "$ID" > del.txt 2>&1 || true
    wait_for_end "$SERVER"
    [ $SECONDS -lt 15 ] || fail "the stop took $SECONDS s"
    "$SLUICE" mirror examine a.img b.img > examine.txt
    grep -q 'behind  *b.img' examine.txt || fail "$(cat examine.txt)"
    end_kit
    far file b.img
    serve_behind
    cmp -n $((40 << 20)) data.bin disk
    wait_until is_quiet
    stop_server
    same_legs
}

bad_words() {
    make_mirror
    refused "leave one out" serve "mirror(a.img, b.img, write_behind=1+2)"
    refused "no number of one of its 2 legs" serve "mirror(a.img, b.img, write_behind=3)"
    refused "write_behind_max" serve "mirror(a.img, b.img, write_behind=2, write_behind_max=1k)"
    serve "mirror(a.img, b.img, write_behind=2)" --read_only
    [ "$(number legs_in_sync)" -ge 1 ] || fail "$(cat stat.txt)"
    stop_server
}

main "$@"
