#!/usr/bin/env bash
# A mirror whose legs change while it is served under a verified load: spares that come in, a leg
# that is replaced, also by a server that is killed meanwhile, growth (T3.11), and a verb whose leg
# hangs.
# seconds: 40
# shellcheck source=tests/interop/lib_mirror.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_mirror.sh"

main() {
    begin
    command -v fio > /dev/null || { echo "skipped: there is no fio"; exit 77; }
    run_case "a spare comes in" spare_comes_in
    run_case "a leg is replaced" replaced
    run_case "killed while a leg is replaced" killed_in_replacement
    run_case "growth" growth
    run_case "growth without size" growth_of_backing
    run_case "the end of a leg that is late" with_servers end_of_late_leg
    ! full || run_case "a verb that hangs" verb_hangs
    run_case "bad words" bad_words
    finish
}

has_spares() {
    [ "$(number spares)" = "$1" ]
}

spare_comes_in() {
    make_mirror
    truncate -s 48M c.img d.img
    serve "mirror(a.img, b.img, spare_after=200ms)"
    ctl spare c.img
    has_spares 1 || fail "$(cat stat.txt)"
    load 4
    sleep 0.3
    ctl fail 1
    wait_until has_spares 1
    wait_until is_whole 2
    load_is_well
    ctl spare d.img
    has_spares 2 || fail "$(cat stat.txt)"
    ctl remove 1
    stop_server
    same_legs b.img c.img
    serve "mirror(b.img, c.img, d.img)"
    is_whole 2 || fail "$(cat stat.txt)"
    has_spares 1 || fail "$(cat stat.txt)"
    stop_server
}

replaced() {
    make_mirror
    truncate -s 48M c.img
    serve "mirror(a.img, b.img)"
    load 3
    ctl replace c.img leg=1
    wait_until replaced_is_spare a.img
    load_is_well
    is_whole 2 || fail "$(cat stat.txt)"
    ctl remove 1
    stop_server
    same_legs b.img c.img
}

replaced_is_spare() {
    "$SLUICE" mirror examine --json "$1" > examine.json 2> /dev/null
    grep -q '"state": *"spare"' examine.json
}

killed_in_replacement() {
    make_mirror
    truncate -s 48M c.img
    dd if=/dev/urandom of=data.bin bs=1M count=32 status=none
    serve "mirror(a.img, b.img, resync_min=1M, resync_max=8M)"
    dd if=data.bin of=disk bs=1M conv=notrunc,fsync status=none
    ctl replace c.img leg=1
    sleep 0.5
    kill_server
    serve "mirror(a.img, b.img, c.img)"
    wait_until replaced_is_spare a.img
    cmp -n $((32 << 20)) data.bin disk
    ctl remove 1
    stop_server
    same_legs b.img c.img
}

growth() {
    make_mirror
    serve "mirror(a.img, b.img)"
    load 3
    "$SLUICE" resize -n "$ID" 95M > resize.txt
    same "size" "$(stat -c %s disk)" $((95 << 20))
    dd if=/dev/urandom of=new.bin bs=1M count=40 status=none
    dd if=new.bin of=disk bs=1M seek=50 conv=notrunc,fsync status=none
    load_is_well
    kill_server
    serve "mirror(a.img, b.img)"
    same "size after a kill" "$(stat -c %s disk)" $((95 << 20))
    cmp -n $((40 << 20)) -i 0:$((50 << 20)) new.bin disk
    wait_until is_whole 2
    stop_server
    same_legs
}

growth_of_backing() {
    make_mirror
    serve "mirror(a.img, b.img)"
    truncate -s 72M a.img
    "$SLUICE" resize -n "$ID" > resize.txt
    same "size of the smallest" "$(stat -c %s disk)" $((47 << 20))
    truncate -s 72M b.img
    "$SLUICE" resize -n "$ID" > resize.txt
    same "size" "$(stat -c %s disk)" $((71 << 20))
    wait_until is_whole 2
    stop_server
    same_legs
}

# What it has not got by then is copied at the next start.
end_of_late_leg() {
    local began
    make_mirror
    nbdkit -f -U sock --filter=delay file b.img wdelay=400ms 2> kit.log &
    KIT=$!
    appears sock
    serve "mirror(a.img, nbd($(uri)), write_behind=2)"
    dd if=/dev/urandom of=data.bin bs=1M count=30 status=none
    for _ in {1..4}; do
        fio --name=late --filename=disk --ioengine=libaio --direct=1 --rw=randwrite --bs=4k \
            --iodepth=32 --io_size=8M --size=32M --output=fio.log
    done
    dd if=data.bin of=disk bs=1M conv=notrunc,fsync status=none
    [ "$(number write_behind_bytes)" -gt $((16 << 20)) ] || fail "$(cat stat.txt)"
    began=$SECONDS
    stop_server
    [ $((SECONDS - began)) -lt 9 ] || fail "the end took $((SECONDS - began)) s"
    end_kit
    serve "mirror(b.img, a.img)"
    cmp -n $((30 << 20)) data.bin disk
    wait_until is_whole 2
    stop_server
    same_legs
}

# The command fails after its time limit, and goes on behind it. The mirror is served meanwhile, and
# takes commands again once it has ended.
verb_hangs() {
    make_mirror
    truncate -s 48M c.img
    serve "mirror(a.img, b.img)"
    refused "has not carried out" ctl add "fault(c.img, delay=23s, length=4k)"
    dd if=/dev/zero of=disk bs=1M count=4 conv=notrunc,fsync status=none
    refused "has not ended yet" ctl fail 1
    SECONDS=0
    until ctl fail 1 2> /dev/null; do
        [ $SECONDS -lt 150 ] || fail "the first command does not end"
        sleep 1
    done
    ctl readd 1
    wait_until is_whole 2
    stop_server
    same_legs
}

bad_words() {
    make_mirror
    truncate -s 8M small.img
    serve "mirror(a.img, b.img)"
    refused "no spare" ctl replace leg=1
    refused "is no leg" ctl replace small.img leg=7
    refused "are needed" ctl spare small.img
    refused "leg" ctl replace small.img
    same "legs" "$(number legs_in_sync)" 2
    refused "cannot shrink" "$SLUICE" resize -n "$ID" 10M
    stop_server
    refused "spare_after" "$SLUICE" add --frontend fuse --at disk \
        "mirror(a.img, b.img, spare_after=5)"
    same_legs
}

main "$@"
