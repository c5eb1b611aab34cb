#!/usr/bin/env bash
# The target mirror on FUSE, loop and NBD front ends: verified loads while a leg fails, fills up, or
# is an export whose server is killed, stopped or comes back; servers of the mirror that are killed
# or replaced in each phase; legs of all kinds; legs that are missing or were written apart; and its
# bad words. T3.x are the traps of mirrors.
# seconds: 45
# shellcheck source=tests/interop/lib_mirror.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_mirror.sh"
# shellcheck source=tests/device/lib_writer.sh
. "$(dirname "${BASH_SOURCE[0]}")/../device/lib_writer.sh"

main() {
    local phase path
    begin
    for tool in fio nbdkit qemu-nbd qemu-img python3; do
        command -v $tool > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    for path in $PATHS; do
        [ "$path" = passthrough ] || run_case "a leg that fails, $path" leg_fails "$path"
    done
    run_case "an export that is killed" with_servers export_is_killed
    run_case "an export that is stopped" with_servers export_is_stopped
    run_case "a leg without space" leg_is_full
    run_case "loop device" on_loop
    run_case "NBD export" with_servers on_nbd
    for phase in idle load resync scrub add; do
        run_case "killed: $phase" killed_in $phase
    done
    run_case "upgraded" upgraded
    run_case "legs of all kinds" all_kinds
    run_case "read-only" read_only
    run_case "missing leg" leg_is_missing
    run_case "broken leg" leg_is_broken
    run_case "written apart" written_apart
    run_case "bad words" bad_words
    finish
}

# T3.13: nothing that was acknowledged is lost with the leg.
leg_fails() {
    make_mirror
    serve "mirror(a.img, fault(b.img, errors=0.05, ops=read+write, after=200, offset=1M))" \
        --mode "$1"
    same "data path" "$(field mode)" "$1"
    load 2
    load_is_well
    [ "$(number leg_write_errors)" -ne 0 ] || fail "the leg did not fail: $(cat stat.txt)"
    stop_server
    serve "mirror(b.img, a.img)"
    wait_until is_whole 2
    stop_server
    same_legs
}

export_is_killed() {
    make_mirror
    kit b.img
    serve "mirror(a.img, nbd($(uri), reconnect=1s, timeout=1s))" -q 2
    load 6
    sleep 0.5
    end_kit
    wait_until has_in_sync 1
    kit b.img
    load_is_well
    wait_until is_whole 2
    stop_server
    same_legs
    end_kit
}

# Requests that hang are given up after the timeout; no other waits longer than that.
export_is_stopped() {
    make_mirror
    qemu-nbd -t -e 8 -f raw -k "$CASE/sock" b.img 2> qemu.log &
    local server=$!
    appears sock
    serve "mirror(a.img, nbd($(uri), reconnect=1s, timeout=1s))"
    load 6
    sleep 0.5
    kill -STOP $server
    wait_until has_in_sync 1
    kill -CONT $server
    load_is_well
    wait_until is_whole 2
    stop_server
    kill $server
    wait $server || true
    same_legs
}

leg_is_full() {
    mkdir small
    mount -t tmpfs -o size=8M none small
    truncate -s 48M a.img small/b.img
    "$SLUICE" mirror create --assume_clean a.img small/b.img > create.txt 2>&1
    serve "mirror(a.img, small/b.img)"
    fio --name=fill --filename=disk --direct=1 --rw=write --bs=256k --size=20M --verify=crc32c \
        --output=fio.log || fail "$(cat fio.log)"
    same "legs in sync" "$(number legs_in_sync)" 1
    mount -o remount,size=64M small
    ctl readd 2
    wait_until is_whole 2
    stop_server
    same_legs a.img small/b.img
    umount small
}

on_loop() {
    local device
    make_mirror
    "$SLUICE" add --frontend loop 'mirror(a.img, b.img)' > add.txt
    note_added
    read -r device < add.txt
    mkfs.ext4 -q "$device"
    mkdir mnt
    mount "$device" mnt
    load 3 mnt/file
    sleep 0.5
    ctl fail 1
    sleep 0.5
    ctl readd 1
    load_is_well
    unmount mnt
    e2fsck -fn "$device" > fsck.txt 2>&1 || fail "$(cat fsck.txt)"
    wait_until is_whole 2
    stop_server
    same_legs
}

on_nbd() {
    make_mirror
    "$SLUICE" add --frontend nbd --listen unix:ours 'mirror(a.img, b.img)' -q 2 > add.txt
    note_added
    qemu-img bench -q -w -c 3000 -s 16k -d 16 -f raw "nbd+unix:///?socket=$CASE/ours" &
    ctl fail 2
    ctl readd 2
    ctl scrub repair
    wait $!
    wait_until is_whole 2
    stop_server
    same_legs
}

# T3.3, T3.7: what was acknowledged is there, on either leg alone.
killed_in() {
    make_mirror
    truncate -s 48M c.img
    serve "mirror(a.img, b.img, resync_max=16M)" -q 2
    write_numbered disk book may_fail 2> writer.txt &
    local writer=$!
    until [ -e book.started ]; do sleep 0.05; done
    case $1 in
        idle) touch book.stop; wait $writer ;;
        resync) ctl fail 1; sleep 0.3; ctl readd 1 ;;
        scrub) ctl scrub repair ;;
        add) ctl add c.img ;;
    esac
    sleep 0.3
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    touch book.stop
    wait $writer || fail "$(cat writer.txt)"
    "$SLUICE" del -n "$ID" > del.txt
    local legs="a.img, b.img"
    [ "$1" != add ] || legs+=", c.img"
    serve "mirror($legs)"
    verify_numbered disk book
    wait_until is_whole $((1 + $(grep -o , <<< "$legs" | wc -l)))
    verify_numbered disk book
    stop_server
    same_legs
    for leg in a.img b.img; do
        serve "mirror($leg, degraded)" --read_only
        verify_numbered disk book
        stop_server
    done
}

upgraded() {
    local phase
    make_mirror
    serve "mirror(a.img, b.img)" -q 2 --mode copy
    load 4
    for phase in fail scrub resync; do
        case $phase in
            fail) ctl fail 2 ;;    # the next server takes all legs that it is given
            scrub) ctl scrub ;;
            resync) ctl fail 1; ctl readd 1 ;;
        esac
        "$SLUICE" upgrade -n "$ID" > upgrade.txt
        note_added
        SERVER=$(field pid)
        wait_until is_whole 2
    done
    load_is_well
    stop_server
    same_legs
}

# The smallest one decides the size.
all_kinds() {
    truncate -s 32M a.img
    truncate -s 40M b.img
    qemu-img create -q -f qcow2 c.qcow2 64M
    "$SLUICE" mirror create a.img b.img 'qcow2(c.qcow2)' > create.txt 2>&1
    serve "mirror(a.img, b.img, qcow2(c.qcow2), write_mostly=3, prefer=2)"
    same "size" "$(stat -c %s disk)" $((31 << 20))
    load 2
    load_is_well
    wait_until is_whole 3
    stop_server
    cmp -n $((31 << 20)) -i 1048576 a.img b.img
    qemu-img convert -O raw c.qcow2 c.img
    cmp -n $((31 << 20)) -i 1048576 a.img c.img
    qemu-img check -q c.qcow2
}

read_only() {
    make_mirror
    serve "mirror(a.img, b.img)"
    dd if=/dev/urandom of=disk bs=64k count=1 conv=notrunc,fsync status=none
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    "$SLUICE" del -n "$ID" > del.txt
    cksum a.img b.img > before
    serve "mirror(a.img, b.img)" --read_only
    cat disk > copy
    refused "read-only" "$SLUICE" ctl -n "$ID" / fail 1
    stop_server
    cksum a.img b.img | cmp - before
    cmp -n $((47 << 20)) -i 0:1048576 copy a.img
}

leg_is_missing() {
    make_mirror
    mv b.img away
    refused "option degraded" "$SLUICE" add --frontend fuse --at disk 'mirror(a.img, b.img)'
    refused "degraded_after is" "$SLUICE" add --frontend fuse --at disk \
        'mirror(a.img, b.img, degraded_after=2)'
    # It comes in time.
    (sleep 0.7; mv away b.img) &
    serve "mirror(a.img, b.img, degraded_after=10s)"
    same "legs in sync" "$(number legs_in_sync)" 2
    stop_server
    mv b.img away
    serve "mirror(a.img, b.img, degraded_after=1s)"
    dd if=/dev/urandom of=disk bs=64k count=5 conv=notrunc,fsync status=none
    mv away b.img
    ctl add b.img
    wait_until is_whole 2
    stop_server
    same_legs
}

# The option degraded does without a disk that is there, but broken.
leg_is_broken() {
    make_mirror
    refused "cannot be read" "$SLUICE" add --frontend fuse --at disk \
        'mirror(a.img, fault(b.img, errors=1, ops=read))'
    serve 'mirror(a.img, fault(b.img, errors=1, ops=read), degraded)'
    dd if=/dev/urandom of=disk bs=64k count=5 conv=notrunc,fsync status=none
    stop_server
    serve 'mirror(a.img, b.img)'
    wait_until is_whole 2
    stop_server
    same_legs
}

# T3.4, T3.5: both histories are shown; the user decides, by forgetting one.
written_apart() {
    local leg
    make_mirror
    for leg in a b; do
        serve "mirror($leg.img, degraded)"
        dd if=/dev/urandom of=disk bs=64k count=1 conv=notrunc,fsync status=none
        stop_server
    done
    refused "were written apart" "$SLUICE" add --frontend fuse --at disk 'mirror(a.img, b.img)'
    grep -q 'a.img has .*b.img has .*in common' refused.txt || fail "$(cat refused.txt)"
    serve "mirror(a.img, degraded)"
    refused "were written apart" "$SLUICE" ctl -n "$ID" / add b.img
    "$SLUICE" mirror forget b.img > forget.txt
    ctl add b.img
    wait_until is_whole 2
    refused "no leg" "$SLUICE" ctl -n "$ID" / remove c.img
    ctl remove b.img
    stop_server
    same_legs
}

bad_words() {
    make_mirror
    truncate -s 48M c.img
    truncate -s 8M small.img
    say "1 to 2" fail 3
    say "no leg" fail nothing
    say "has not left" readd 1
    say "is in use" remove 1
    say "no scrub is running" scrub cancel
    say "exclude each other" scrub cancel repair
    say "exclude each other" resync pause resume
    say "are less than" resync min=5M max=1M
    say "cannot replace an empty place: it has only" add small.img
    say "is a copy of leg 1" add copy.img
    add_says "there are 2 legs" "prefer=3"
    add_says "write_mostly has" "write_mostly=0"
    add_says "write_mostly has" "write_mostly=1+"
    add_says "resync_max is less" "resync_min=2M, resync_max=1M"
    add_says "degraded_after is" "degraded_after=now"
    refused "is none" "$SLUICE" add --frontend fuse --at disk 'mirror(a.img, c.img)'
    refused "same leg as" "$SLUICE" add --frontend fuse --at disk 'mirror(a.img, copy.img)'
}

# say WORDS VERB [ARGUMENT...]: the verb is refused, in one line.
say() {
    [ -e copy.img ] || cp a.img copy.img
    [ -e disk ] || serve "mirror(a.img, b.img)"
    refused "$1" "$SLUICE" ctl -n "$ID" / "${@:2}"
    same "lines of ${*:2}: $(cat refused.txt)" "$(wc -l < refused.txt)" 1
}

add_says() {
    [ ! -e disk ] || stop_server
    refused "$1" "$SLUICE" add --frontend fuse --at disk "mirror(a.img, b.img, $2)"
    same "lines: $(cat refused.txt)" "$(wc -l < refused.txt)" 1
}

main
