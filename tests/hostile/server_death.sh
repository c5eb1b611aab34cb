#!/usr/bin/env bash
# A server or its keeper dies, in any way and with any user of the device: within a second all
# clients get errors, nothing hangs, and del removes the rest.
# shellcheck source=tests/hostile/lib_hostile.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_hostile.sh"

main() {
    local frontend
    begin_loop
    for frontend in loop fuse; do
        run_case "killed with dirty pages, $frontend" killed_dirty "$frontend" KILL
        run_case "crashed with dirty pages, $frontend" killed_dirty "$frontend" SEGV
        run_case "killed while its backing hangs, $frontend" killed_with_hung_backing "$frontend"
        run_case "killed while it stops and its backing hangs, $frontend" \
            killed_while_stopping "$frontend"
        run_case "stopped by SIGSTOP, $frontend" deleted_while_stopped "$frontend"
        run_case "told to end thirty times, $frontend" told_to_end "$frontend"
        run_case "with its keeper, at once, $frontend" both_killed "$frontend"
        run_case "the keeper killed, $frontend" keeper_killed "$frontend"
    done
    run_case "killed, with a file system mounted" killed_mounted
    run_case "killed, with the device open" killed_open
    run_case "killed, and its file system's number is another's by now" number_taken
    run_case "told to end while its target never answers" told_while_silent
    run_case "the keeper killed, with a file system mounted" keeper_killed_mounted
    finish
}

# fails_soon WHAT COMMAND...: the command fails within two seconds.
fails_soon() {
    local what=$1 began=$EPOCHREALTIME status=0
    shift
    timeout 5 "$@" > soon.txt 2>&1 || status=$?
    [ $status != 0 ] || fail "$what succeeds"
    [ $status != 124 ] || fail "$what hangs"
    awk -v from="$began" -v to="$EPOCHREALTIME" 'BEGIN { exit to - from > 2 }' ||
        fail "$what takes long"
}

keeper() {
    pgrep -P "$SERVER" || fail "server $SERVER has no keeper"
}

killed_dirty() {
    for _ in $(up_to 2 5); do
        serve "$1" || fail "$(cat add.err)"
        make_dirty
        kill "-$2" "$SERVER"
        wait_for_end "$SERVER"
        nobody_hangs "kill -$2"
        [ "$1" = loop ] || fails_soon "reading" head -c 1 "$DEV"
        all_is_cleared "kill -$2"
        [ -z "$(find . -name 'core*')" ] || fail "a core file"
    done
}

# Makes image.raw a file of another server, so that it hangs while that server is stopped.
make_hung_backing() {
    truncate -s 64M base.raw
    "$SLUICE" add -n 7 --at "$CASE/image.raw" --mode copy base.raw > /dev/null
    INNER=$(ID=7 field pid)
}

killed_with_hung_backing() {
    local reader status=0
    make_hung_backing
    serve "$1" || fail "$(cat add.err)"
    kill -STOP "$INNER"
    dd if="$DEV" of=/dev/null bs=4k count=1 skip=100 iflag=direct 2> reader.txt &
    reader=$!
    sleep 0.3
    kill -KILL "$SERVER"
    for _ in {1..40}; do
        [ -e "/proc/$reader" ] || break
        sleep 0.05
    done
    [ ! -e "/proc/$reader" ] || fail "who reads hangs in $(cat "/proc/$reader/wchan")"
    wait $reader || status=$?
    [ $status != 0 ] || fail "who reads has no error"
    others_go_on "the server of a hung backing"
    kill -CONT "$INNER"
    wait_for_end "$SERVER"
    clear_with_inner
}

clear_with_inner() {
    "$SLUICE" del -n 0 --force > /dev/null 2>&1 || true
    # The kernel closes the files of a process that has ended a moment later.
    for _ in {1..100}; do
        ! "$SLUICE" del -n 7 2> del.err || break
        sleep 0.05
    done
    truncate -s 64M image.raw
    all_is_cleared "all of it"
}

# Dirty pages cannot be written back: SIGTERM does not end the server, and SIGKILL ends all waits.
killed_while_stopping() {
    make_hung_backing
    serve "$1" || fail "$(cat add.err)"
    make_dirty
    kill -STOP "$INNER"
    kill -TERM "$SERVER"
    sleep 0.5
    kill -KILL "$SERVER"
    sleep 1
    others_go_on "a server that stopped"
    kill -CONT "$INNER"
    wait_for_end "$SERVER"
    clear_with_inner
}

deleted_while_stopped() {
    serve "$1" || fail "$(cat add.err)"
    make_dirty
    kill -STOP "$SERVER"
    timeout 3 "$SLUICE" list > list.txt || fail "list hangs"
    timeout 30 "$SLUICE" del -n 0 --force || fail "del --force fails"
    wait_for_end "$SERVER"
    nobody_hangs "del of a stopped server"
    all_is_cleared "del of a stopped server"
}

told_to_end() {
    local number
    serve "$1" || fail "$(cat add.err)"
    make_dirty
    for _ in {1..10}; do
        for number in TERM INT HUP; do kill "-$number" "$SERVER" 2> /dev/null || true; done
    done
    wait_for_end "$SERVER"
    same "state files" "$(ls "$SLUICE_STATE_DIR")" ""
    all_is_cleared "thirty signals"
}

# The kernel reuses the number of an unmounted file system for the next mount.
number_taken() {
    local i number
    SLUICE_TEST_STEP=kill:ended serve fuse || fail "$(cat add.err)"
    number=$(field file_system | cut -d' ' -f1)
    kill -TERM "$SERVER"
    wait_for_end "$SERVER"
    for i in {1..8}; do
        truncate -s 16M "other$i.raw"
        "$SLUICE" add -n "$i" --at "$CASE/other$i" --mode copy "other$i.raw" > /dev/null
    done
    grep -qF "\"$number " "$SLUICE_STATE_DIR"/device-[1-8].json ||
        echo "# somebody else has the number $number"
    "$SLUICE" del -n 0
    for i in {1..8}; do
        echo text | dd of="other$i" conv=notrunc,fsync status=none || fail "file $i is gone"
    done
    "$SLUICE" del -a
    all_is_cleared "a number that was taken"
}

# The server waits for a minute at most.
told_while_silent() {
    local reader
    truncate -s 64M image.raw
    "$SLUICE" add -n 0 --at "$CASE/disk" --mode copy 'fault(image.raw, delay=3600s, ops=read)' \
        > add.txt
    note_server
    head -c 1 disk > head.txt 2>&1 &
    reader=$!
    sleep 0.3
    kill -TERM "$SERVER"
    for _ in {1..150}; do
        [ -e "/proc/$SERVER" ] && ! grep -qs '^State:.Z' "/proc/$SERVER/status" || break
        sleep 0.5
    done
    wait_for_end "$SERVER"
    ! wait $reader || fail "who reads has no error"
    nobody_hangs "a silent target"
    all_is_cleared "a silent target"
}

both_killed() {
    serve "$1" || fail "$(cat add.err)"
    make_dirty
    kill -KILL "$SERVER" "$(keeper)"
    wait_for_end "$SERVER"
    nobody_hangs "server and keeper"
    all_is_cleared "server and keeper"
}

# A new keeper replaces the killed one, and the device goes on.
keeper_killed() {
    local old
    serve "$1" || fail "$(cat add.err)"
    make_dirty
    echo text | dd of="$DEV" conv=notrunc,fsync status=none
    for _ in 1 2 3; do
        old=$(keeper)
        kill -KILL "$old"
        for _ in {1..100}; do
            [ "$(pgrep -P "$SERVER" || true)" = "$old" ] || [ -z "$(pgrep -P "$SERVER")" ] ||
                break
            sleep 0.02
        done
        sleep 0.2
        same "what is read" "$(head -c 4 "$DEV")" text
        "$SLUICE" stat -n 0 > /dev/null
    done
    "$SLUICE" upgrade -n 0 > /dev/null
    note_server
    kill -KILL "$SERVER"
    nobody_hangs "a server whose keeper was replaced"
    all_is_cleared "a server whose keeper was replaced"
}

serve_mounted() {
    serve loop || fail "$(cat add.err)"
    mkfs.ext4 -qF "$DEV"
    mkdir mnt
    mount "$DEV" mnt
    cp -r "$SLUICE_SOURCE_DIR/src/core" mnt
}

killed_mounted() {
    serve_mounted
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    fails_soon "writing" dd if=/dev/zero of=mnt/more bs=1M count=4 conv=fsync
    nobody_hangs "a mounted device"
    timeout 10 umount mnt
    all_is_cleared "a mounted device"
}

killed_open() {
    serve loop || fail "$(cat add.err)"
    exec 5<> "$DEV"
    make_dirty
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    fails_soon "reading" dd if="/proc/$BASHPID/fd/5" of=/dev/null bs=4k count=1 iflag=direct
    nobody_hangs "an open device"
    exec 5<&-
    all_is_cleared "an open device"
}

keeper_killed_mounted() {
    serve_mounted
    kill -KILL "$(keeper)"
    sleep 0.5
    echo text > mnt/text
    sync -f mnt
    unmount mnt
    "$SLUICE" del -n 0
    "$SLUICE" add -n 0 --frontend loop image.raw > add.txt
    DEV=$(head -n 1 add.txt)
    mount "$DEV" mnt
    same "what was written" "$(cat mnt/text)" text
    unmount mnt
    all_is_cleared "a mounted device"
}

main
