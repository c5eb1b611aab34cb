#!/usr/bin/env bash
# ublk servers and their keepers die at every step, are stopped, or are told to end while requests
# are in flight: no process hangs, no acknowledged write is lost, and del removes the rest. Each day
# they die at another third of the steps, and a server that takes over at another sixth of those
# that `add` has too; with SLUICE_TEST_FULL=1 at all.
# SLUICE_TEST_SEED=N: which steps, instead of the day.
# seconds: 150
. "$(dirname "$0")/lib_ublk.sh"

main() {
    say_turn
    run_case "dies while it is added" dies_in_add
    run_case "dies while it stops" dies_in_stop
    run_case "dies while it recovers" dies_in_recover
    run_case "the next server dies in an upgrade" next_dies_in_upgrade
    run_case "the old server dies in an upgrade" old_dies_in_upgrade
    run_case "killed while it stops with a request in flight" killed_while_stopping
    run_case "killed while its target never answers" killed_with_silent_target
    run_case "stopped by SIGSTOP and deleted" deleted_while_stopped
    run_case "told to end thirty times" told_to_end
    run_case "its keeper killed" keeper_killed
    run_case "writes back what is dirty when it is told to end" dirty_at_the_end
    run_case "a file system in a namespace that it was added in" in_namespace
    run_case "quiesce that takes too long takes no effect" quiesce_in_vain
    finish
}

for_each_step() {
    local file=$1 step
    shift
    awk '!seen[$0]++' "$file" | one_of 3 > each
    while read -r step <&3; do
        rm -f once
        SLUICE_TEST_ONCE=$CASE/once "$@" "$step"
        all_is_cleared "$step"
    done 3< each
}

# thin_out FILE: of the steps that `add` has too, keeps only every other one.
thin_out() {
    ! full || return 0
    logged serve -r 1
    sluice del -n 0
    awk -v skip=$((TURN / 3 % 2)) '
        NR == FNR { added[$0]; next }
        !($0 in added) || n++ % 2 == skip' steps.txt "$1" > fewer
    mv fewer "$1"
    rm steps.txt
}

logged() {
    SLUICE_TEST_STEP=log:$CASE/steps.txt "$@"
}

dies_in_add() {
    logged serve -r 1
    mv steps.txt add.steps
    sluice del -n 0
    for_each_step add.steps killed_in_add
}

killed_in_add() {
    SLUICE_TEST_STEP="kill:$1" serve -r 1 || true
}

dies_in_stop() {
    logged serve -r 1
    rm steps.txt
    make_dirty
    sluice del -n 0
    mv steps.txt stop.steps
    for_each_step stop.steps killed_in_stop
}

killed_in_stop() {
    SLUICE_TEST_STEP="kill:$1" serve -r 1 || return 0
    make_dirty
    timeout 30 "$SLUICE" del -n 0 > del.txt 2>&1 || true
}

dies_in_recover() {
    serve -r 1
    kill_server
    logged sluice recover -n 0 > recover.txt
    mv steps.txt recover.steps
    sluice del -n 0
    thin_out recover.steps
    for_each_step recover.steps killed_in_recover
}

# A further server recovers the device, with all written data.
killed_in_recover() {
    serve -r 1
    echo "$1" | dd of="$DEV" conv=notrunc,fsync status=none
    kill_server
    SLUICE_TEST_STEP="kill:$1" timeout 30 "$SLUICE" recover -n 0 > recover.txt 2>&1 || true
    goes_on "$1"
}

goes_on() {
    for _ in {1..100}; do
        timeout 30 "$SLUICE" recover -n 0 > recover.txt 2>&1 || true
        ! timeout 5 "$SLUICE" stat -n 0 > stat.txt 2>&1 || break
        sleep 0.05
    done
    same "what is read after $1" "$(timeout 10 head -n 1 "$DEV")" "$1"
}

next_dies_in_upgrade() {
    serve -r 1
    logged sluice upgrade -n 0 > upgrade.txt
    mv steps.txt next.steps
    sluice del -n 0
    thin_out next.steps
    for_each_step next.steps next_killed
}

next_killed() {
    serve -r 1
    echo "$1" | dd of="$DEV" conv=notrunc,fsync status=none
    SLUICE_TEST_STEP="kill:$1" timeout 60 "$SLUICE" upgrade -n 0 > upgrade.txt 2>&1 || true
    goes_on "$1"
}

old_dies_in_upgrade() {
    logged serve -r 1
    mv steps.txt add.steps
    sluice upgrade -n 0 > upgrade.txt
    grep -vxFf add.steps steps.txt > old.steps
    sluice del -n 0
    for_each_step old.steps old_killed
}

old_killed() {
    SLUICE_TEST_STEP="kill:$1" serve -r 1
    echo "$1" | dd of="$DEV" conv=notrunc,fsync status=none
    timeout 60 "$SLUICE" upgrade -n 0 > upgrade.txt 2>&1 || true
    goes_on "$1"
}

# The server waits for the read; only its keeper tells the driver to stop the device.
killed_while_stopping() {
    local options
    for options in "" "-r 1"; do
        make_image
        # shellcheck disable=SC2086
        add -n 0 $options 'fault(image.raw, delay=2s, ops=read)'
        dd if="$DEV" of=/dev/null bs=4k count=1 iflag=direct > dd.txt 2>&1 &
        sleep 0.3
        kill -TERM "$(server)"
        sleep 0.3
        kill -KILL "$(server)"
        wait_for 5 gone "$(server)"
        all_is_cleared "a request in flight"
    done
}

killed_with_silent_target() {
    make_image
    add -n 0 'fault(image.raw, delay=3600s, ops=read)'
    dd if="$DEV" of=/dev/null bs=4k count=1 iflag=direct > dd.txt 2>&1 &
    local reader=$! pid
    pid=$(server)
    sleep 0.3
    timeout 60 "$SLUICE" del -n 0 --force
    wait_for 5 gone "$pid"
    wait_for 5 gone $reader
    all_is_cleared "a silent target"
}

deleted_while_stopped() {
    serve
    make_dirty
    kill -STOP "$(server)"
    timeout 3 "$SLUICE" list > list.txt || fail "list hangs"
    timeout 40 "$SLUICE" del -n 0 --force
    all_is_cleared "a stopped server"
}

told_to_end() {
    local pid round number
    for round in $(up_to 1 3); do
        serve -r 1
        make_dirty
        pid=$(server)
        for _ in {1..10}; do
            for number in TERM INT HUP; do kill "-$number" "$pid" 2> /dev/null || true; done
        done
        wait_for 20 gone "$pid"
        same "state files in round $round" "$(ls state)" ""
        same "devices in round $round" "$(ls /sys/class/ublk-char)" ""
    done
}

keeper_killed() {
    local old
    serve -r 1
    old=$(pgrep -P "$(server)")
    kill -KILL "$old"
    wait_for 5 has_other_keeper "$old"
    echo text | dd of="$DEV" conv=notrunc,fsync status=none
    sluice upgrade -n 0 > upgrade.txt
    same "what is read" "$(head -n 1 "$DEV")" text
    sluice del -n 0
    all_is_cleared "a dead keeper"
}

has_other_keeper() {
    local now
    now=$(pgrep -P "$(server)") && [ "$now" != "$1" ]
}

# Without writeback by the server, the driver would fail the writes of dirty pages of a device with
# recovery.
dirty_at_the_end() {
    local options
    yes text 2> /dev/null | head -c 4000000 > text || true
    for options in "" "-r 1"; do
        rm -f image.raw
        # shellcheck disable=SC2086
        serve $options
        exec 5<> "$DEV"
        dd if=text of="$DEV" bs=64k conv=notrunc status=none
        kill -TERM "$(server)"
        wait_for 20 test ! -e "state/device-0.json"
        exec 5>&-
        same "lines in the image, $options" "$(grep -ac text image.raw)" 800000
    done
}

in_namespace() {
    make_image
    mkfs.ext4 -qF image.raw
    mkdir mnt
    unshare --mount --propagation private bash -ec "'$SLUICE' add -n 0 -r 1 -i 1 image.raw
        mount /dev/ublkb0 mnt
        echo hello > mnt/hello
        sync -f mnt" > unshared.txt
    ID=0
    kill_server
    sluice recover -n 0 > recover.txt
    sluice del -n 0
    mount -o loop image.raw mnt
    same "what was written" "$(cat mnt/hello)" hello
    umount mnt
    all_is_cleared "a namespace"
}

# Where the kernel looks for partitions nothing is slow, or the reader would wait for that first.
quiesce_in_vain() {
    make_image
    add -n 0 -r 1 'fault(image.raw, delay=34s, ops=read, offset=16M, length=1M)'
    dd if="$DEV" of=/dev/null bs=4k skip=4096 count=1 iflag=direct > dd.txt 2>&1 &
    sleep 0.3
    fails "have not ended in time" timeout 60 "$SLUICE" quiesce -n 0
    wait $! || fail "the request that was in flight: $(cat dd.txt)"
    wait_for 10 has_state LIVE
    timeout 10 dd if=/dev/zero of="$DEV" bs=4k count=1 oflag=direct status=none ||
        fail "the server does not go on"
    [ -e "/proc/$(server)" ] || fail "its server has gone"
}

main
