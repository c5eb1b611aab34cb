#!/usr/bin/env bash
# The target mirror on ublk: verified loads and file systems while legs fail, are killed, come back
# and are replaced, and while the server dies. T3.x are the traps of mirrors.
# seconds: 90
. "$(dirname "$0")/lib_filesystems.sh"
. "$(dirname "$0")/lib_writer.sh"
. "$(dirname "$0")/lib_export.sh"

main() {
    local mode fs
    make_repository
    for mode in $MODES; do
        run_case "verified load while a leg leaves and comes back, mode $mode" verified_in "$mode"
    done
    for fs in ext4 xfs; do
        run_case "$fs while an NBD leg is killed and comes back" lives_on $fs
    done
    run_case "a leg that fails now and then" failing_leg
    run_case "a leg is replaced, and the mirror grows, under load" replaced
    run_case "the server is killed and recovered" killed
    run_case "the server is killed while it copies" killed_in_resync
    run_case "upgrade under load" upgraded
    finish
}

make_mirror() {
    truncate -s "${1:-128M}" a.img b.img
    sluice mirror create --assume_clean a.img b.img > create.txt 2>&1
}

load() {
    verified --bsrange=512-256k --size=48M "$@"
}

ctl() {
    sluice ctl -n "$ID" / "$@" > ctl.txt
}

is_whole() {
    sluice stat -n "$ID" > stat.txt
    ! grep -q 'health:' stat.txt && grep -q 'resync_left_bytes 0,' stat.txt
}

# same_legs: after the mirror has stopped, all legs are in sync, clean and equal.
same_legs() {
    sluice mirror examine a.img b.img > examine.txt
    lacks 'not cleanly|: stale|: out' examine.txt
    cmp -i 1048576 a.img b.img
}

verified_in() {
    make_mirror
    add 'mirror(a.img, b.img)' --mode "$1" -q 2
    same mode "$(field mode)" "$1"
    same "stable writes" "$(setting queue/stable_writes)" 1
    load --time_based --runtime=4 &
    sleep 1
    ctl fail 2
    sleep 1
    ctl readd 2
    sleep 1
    ctl scrub
    wait "$!"
    wait_for 20 is_whole
    wait_for 20 ctl scrub 2> scrub.err   # the first one has ended
    sleep 1
    lacks 'scrub_mismatches [1-9]' <(sluice stat -n "$ID")
    del
    same_legs
}

# serve_leg: the second leg, as an export whose server is quick to be missed.
serve_leg() {
    serve b.img
    LEG_ID=$ID LEG_SERVER=$SERVER
}

lives_on() {
    make_mirror 400M
    mkdir mnt
    serve_leg
    add "mirror(a.img, nbd(nbd+unix:///?socket=$CASE/sock, reconnect=1s))" -q 2
    make_fs "$1"
    mount "$DEV" mnt
    use mnt &
    sleep 0.7
    SERVER=$LEG_SERVER
    kill_export
    wait "$!"
    wait_for 20 lacks_a_leg
    sluice del -n "$LEG_ID" --force
    MIRROR=$ID
    serve_leg
    ID=$MIRROR
    wait_for 40 is_whole
    umount mnt
    check_fs "$1"
    del
    ID=$LEG_ID
    SERVER=$LEG_SERVER
    unserve
    same_legs
    add 'mirror(b.img, degraded)' --mode copy
    mount -o ro "$DEV" mnt
    git -C mnt/clone fsck --full --no-progress
    cmp program mnt/clone/project/program
    umount mnt
    del
}

lacks_a_leg() {
    sluice list -n "$ID" > list.txt
    grep -q degraded list.txt
}

failing_leg() {
    make_mirror
    add "mirror(a.img, fault(b.img, errors=0.1, ops=read, offset=2M), prefer=2)" -q 2
    load
    sluice stat -n "$ID" > stat.txt
    grep -qE 'leg_read_errors [1-9]' stat.txt
    grep -q 'legs_in_sync 2,' stat.txt
    del
    same_legs
}

replaced() {
    make_mirror
    truncate -s 128M c.img
    add 'mirror(a.img, b.img)' -q 2 -r 1
    load --time_based --runtime=4 &
    sleep 1
    ctl replace c.img leg=1
    sleep 1
    sluice resize -n "$ID" 140M > resize.txt
    same size "$(blockdev --getsize64 "$DEV")" $((140 << 20))
    wait "$!"
    wait_for 20 first_is_replaced
    ctl remove 1
    wait_for 10 is_whole
    sluice list -n "$ID" > list.txt
    grep -qF "mirror($CASE/b.img, $CASE/c.img)" list.txt || fail "$(cat list.txt)"
    # A recovery opens the legs that it has now.
    kill_server
    sluice recover -n "$ID" > recover.txt
    load --size=8M
    wait_for 20 is_whole
    del
    cmp -i 1048576 b.img c.img
    refuses 'no leg of the array any more' "$SLUICE" add 'mirror(a.img, b.img)'
}

first_is_replaced() {
    sluice mirror examine a.img > examine.txt
    grep -q '1 of 3, spare' examine.txt
}

# What was acknowledged is there, on both legs.
killed() {
    make_mirror
    add 'mirror(a.img, b.img)' -q 2 -r 1 -i 1
    write_numbered "$DEV" book &
    wait_for 20 test -e book.started
    for _ in $(up_to 2 3); do
        sleep 0.7
        kill_server
        sluice recover -n "$ID" > recover.txt
    done
    touch book.stop
    wait "$!"
    verify_numbered "$DEV" book
    wait_for 20 is_whole
    del
    same_legs
}

killed_in_resync() {
    make_mirror
    add 'mirror(a.img, b.img, resync_min=1M, resync_max=8M)' -q 2 -r 1 -i 1
    verified --rw=randwrite --size=8M
    ctl fail 1
    verified --rw=randwrite --size=8M
    ctl readd 1
    sleep 0.5
    kill_server
    sluice recover -n "$ID" > recover.txt
    verified --rw=randread --size=8M --verify_only
    ctl resync min=0 max=0
    wait_for 20 is_whole
    del
    same_legs
}

upgraded() {
    make_mirror
    add 'mirror(a.img, b.img)' -q 2 -r 1
    load --time_based --runtime=4 --size=16M &
    sleep 1
    ctl fail 2
    sluice upgrade -n "$ID" > upgrade.txt    # a server takes all legs that it is given
    sluice upgrade -n "$ID" > upgrade.txt
    wait "$!"
    wait_for 20 is_whole
    del
    same_legs
}

main
