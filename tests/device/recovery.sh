#!/usr/bin/env bash
# The server is killed under load: acknowledged writes are kept, and requests are treated as the
# recovery flavour promises. Each mode is recovered at least once; the other flavours are tested
# with mode `auto`, with SLUICE_TEST_FULL=1 with all modes.
# seconds: 110
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_writer.sh"

main() {
    local mode stack flavour
    for mode in $MODES; do
        run_case "reissue: nobody notices a kill, mode $mode" nobody_notices "$mode" loop
    done
    # Tables that are in memory until a flush, too.
    for stack in buffered stripe qcow2 thin; do
        run_case "reissue: nobody notices a kill, $stack" nobody_notices auto $stack
    done
    for mode in auto register user_copy copy; do
        [[ $mode == auto ]] || full || continue
        run_case "wait: only requests in flight fail, mode $mode" in_flight_fail "$mode"
        run_case "fail_io: all requests fail until the next server, mode $mode" all_fail "$mode"
        run_case "none: the device goes, the data stays, mode $mode" device_goes "$mode"
    done
    run_case "a mounted file system outlives its servers" mounted
    run_case "a server is replaced the moment it is dead" at_once
    run_case "recovery is refused where it makes no sense" refused
    for flavour in "-r 0" "-r 1" "-r 1 -i 1" "-r 1 -e 1"; do
        [[ $flavour == "-r 0" || $flavour == *-i* ]] || full || continue
        run_case "pages on loan come back before a request ends, $flavour" loans_out auto "$flavour"
    done
    ! full || run_case "pages on loan come back before a request ends, mode register" \
        loans_out register "-r 1 -i 1"
    finish
}

nobody_notices() {
    local kills=1
    [[ $1/$2 != auto/loop ]] && ! full || kills=$(up_to 2 3 | tail -n 1)
    make_stack "$2" 64M
    add "${STACK[@]}" --mode "$1" -r 1 -i 1 -q 2
    same recovery "$(field recovery)" reissue
    kill_under_load $kills
    same "failed requests" "$(failed_requests)" 0
    verify_numbered "$DEV" book
    del
}

in_flight_fail() {
    make_stack loop 64M
    add "${STACK[@]}" --mode "$1" -r 1
    same recovery "$(field recovery)" wait
    kill_under_load 2 may_fail
    # Two kills, with one request in flight for each of four threads.
    [ "$(failed_requests)" -le 8 ] || fail "$(failed_requests) requests failed"
    verify_numbered "$DEV" book

    kill_server
    wait_for 10 has_state QUIESCED
    dd if="$DEV" of=read bs=16k count=4 iflag=direct status=none &
    sleep 0.5
    kill -0 $! || fail "a request did not wait for the next server"
    sluice recover -n "$ID" > /dev/null
    wait $!
    same state "$(field state)" LIVE
    del
}

all_fail() {
    make_stack loop 64M
    add "${STACK[@]}" --mode "$1" -r 1 -e 1
    same recovery "$(field recovery)" fail_io
    kill_under_load 2 may_fail
    verify_numbered "$DEV" book
    kill_server
    wait_for 10 has_state FAIL_IO
    fails 'I/O error' timeout 5 dd if="$DEV" of=read bs=16k count=4 iflag=direct status=none
    sluice recover -n "$ID" > /dev/null
    dd if="$DEV" of=read bs=16k count=4 iflag=direct status=none
    del
}

device_goes() {
    make_stack loop 64M
    add "${STACK[@]}" --mode "$1"
    same recovery "$(field recovery)" none
    write_numbered "$DEV" book may_fail &
    wait_for 20 [ -e book.started ]
    kill_server
    wait_for 10 [ ! -b "$DEV" ]
    touch book.stop
    wait $!
    wait_for 10 has_state DEAD
    refuses 'added without recovery' "$SLUICE" recover -n "$ID"
    del
    [ ! -e "state/device-$ID.json" ]
    add "${STACK[@]}"
    verify_numbered "$DEV" book
    del
}

# kill_under_load TIMES [MAY_FAIL]
kill_under_load() {
    local writer times=$1
    shift
    write_numbered "$DEV" book "$@" &
    writer=$!
    wait_for 20 [ -e book.started ]
    while ((times--)); do
        sleep 0.2
        kill_server
        sluice recover -n "$ID" > /dev/null
    done
    sleep 0.2
    touch book.stop
    wait $writer
}

failed_requests() {
    sed -nE 's/.*"errors": ([0-9]+).*/\1/p' book
}

mounted() {
    local worker
    truncate -s 256M disk
    add -t loop -f disk -r 1 -i 1
    mkfs.ext4 -qF "$DEV"
    mkdir mnt
    mount "$DEV" mnt
    (for copy in $(up_to 2 4); do cp -r "$SLUICE_SOURCE_DIR/src" mnt/copy$copy; sync -f mnt; done) &
    worker=$!
    for _ in 1 2; do
        sleep 0.2
        kill_server
        sluice recover -n "$ID" > /dev/null
    done
    wait $worker
    for copy in $(up_to 2 4); do diff -r "$SLUICE_SOURCE_DIR/src" mnt/copy$copy; done
    umount mnt
    e2fsck -fn "$DEV" > check.log 2>&1 || fail "$(cat check.log)"
    del
}

# The files and locks of the killed server may not have been released yet.
at_once() {
    local pid
    make_stack loop 64M
    add "${STACK[@]}" -r 1 -i 1
    for _ in $(up_to 2 5); do
        pid=$(server)
        kill -KILL "$pid"
        sluice recover -n "$ID" > /dev/null
        [ "$(server)" != "$pid" ] || fail "no new server"
        dd if="$DEV" of=read bs=64k count=4 iflag=direct status=none
    done
    del
}

refused() {
    make_stack loop 64M
    add "${STACK[@]}" -r 1
    refuses 'is being served by process' "$SLUICE" recover -n "$ID"
    kill_server
    truncate -s 32M disk
    refuses '67108864 bytes but its backing now only' "$SLUICE" recover -n "$ID"
    mv disk away
    refuses 'does not exist' "$SLUICE" recover -n "$ID"
    mv away disk
    truncate -s 64M disk
    cp "state/device-$ID.json" record
    head -c 100 record > "state/device-$ID.json"
    refuses 'cannot be used' "$SLUICE" recover -n "$ID"
    rm "state/device-$ID.json"
    refuses 'not one that sluice serves' "$SLUICE" recover -n "$ID"
    cp record "state/device-$ID.json"
    same state "$(field state)" QUIESCED
    sluice recover -n "$ID" > /dev/null
    dd if="$DEV" of=read bs=64k count=4 iflag=direct status=none
    kill_server
    del
    refuses 'there is no device' "$SLUICE" recover -n "$ID"
}

# The backing takes three seconds for each request, so that the server dies during its operations on
# the lent pages.
loans_out() {
    local verb below answer
    add 'fault(mem:64M, delay=3s, offset=1M, length=8M)' --mode copy
    below=$DEV
    for verb in write read; do
        # For reads, all flavours with a next server treat the pages in the same way.
        [[ $verb == write || $2 == "-r 0" || $2 == *-i* ]] || full || continue
        # shellcheck disable=SC2086
        add "$below" --mode "$1" $2
        watched_buffers $verb "$DEV" > answer &
        wait_for 10 eight_in_flight "$below"
        kill_server
        [ "$2" = "-r 0" ] || sluice recover -n "$ID" > /dev/null
        wait $!
        answer=$(cat answer)
        [[ $answer != 0.[0-4]* ]] || fail "requests ended with their loans still out: $answer"
        case $2 in
            *-i*) same errors "${answer#* }" "errors 0" ;;
            *) same errors "${answer#* }" "errors 8" ;;
        esac
        [ $verb = read ] || nothing_new_in "$below"
        del
    done
}

nothing_new_in() {
    dd if="$1" of=found bs=8M count=1 skip=1M iflag=direct,skip_bytes status=none
    if grep -q B found; then fail "bytes that were written after the answer are on the device"; fi
}

eight_in_flight() {
    [ "$(awk '{ print $1 + $2 }' "/sys/block/${1#/dev/}/inflight")" = 8 ]
}

main
