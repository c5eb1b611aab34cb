#!/usr/bin/env bash
# The OOM killer runs while servers work, with dirty pages in the cache: no process hangs, synced
# data is kept, and del removes the rest. It also runs while a device is added in a memory cgroup;
# it spares servers as long as it finds another process.
. "$(dirname "$0")/lib_ublk.sh"

main() {
    [ -e /proc/sysrq-trigger ] || { echo "skipped: no way to call the killer"; exit 77; }
    run_case "a server of ublk" killed_working
    run_case "a server of ublk, with recovery" killed_and_recovered
    run_case "a server of loop" killed_working --frontend loop --mode copy
    run_case "a memory cgroup, ublk" little_memory
    run_case "a memory cgroup, loop" little_memory --frontend loop --mode copy
    finish
}

serve_with_text() {
    rm -f image.raw
    serve "$@" || fail "$(cat add.err)"
    DEV=$(head -n 1 add.txt)
    dd if=/dev/zero of="$DEV" bs=64k seek=16 count=64 conv=notrunc status=none
    echo text | dd of="$DEV" conv=notrunc,fsync status=none
    make_other_dirty
}

make_other_dirty() {
    dd if=/dev/zero of="$DEV" bs=64k seek=128 count=128 conv=notrunc status=none
}

call_killer() {
    local pid
    pid=$(server 0)
    echo 1000 > "/proc/$pid/oom_score_adj"
    echo f > /proc/sysrq-trigger
    wait_for 10 gone "$pid"
    grep -q "Killed process $pid " <(dmesg) || fail "it was not the killer"
}

killed_working() {
    for _ in 1 2 3; do
        serve_with_text "$@"
        call_killer
        timeout 5 "$SLUICE" list > list.txt || fail "list hangs or fails"
        all_is_cleared "the killer"
        same "what was synced" "$(head -n 1 image.raw | tr -d '\0')" text
    done
}

killed_and_recovered() {
    for _ in 1 2 3; do
        serve_with_text -r 1
        call_killer
        sluice recover -n 0 > recover.txt
        make_other_dirty
        timeout 20 sync -f "$DEV"
        same "what is read" "$(timeout 5 head -n 1 "$DEV")" text
        all_is_cleared "the killer"
    done
}

# `add` must print a message unless it was killed.
little_memory() {
    local group=/sys/fs/cgroup/sluice-test size status served=0
    [ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 none /sys/fs/cgroup
    echo +memory > /sys/fs/cgroup/cgroup.subtree_control 2> /dev/null ||
        skip "no memory cgroup here"
    mkdir $group
    make_image
    for size in $(seq 1024 2048 17408) 24576 32768 65536; do
        echo ${size}K > $group/memory.max
        status=0
        # shellcheck disable=SC2016
        (timeout 30 bash -c 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"' - $group \
            "$SLUICE" add -n 0 "$@" image.raw || exit $?) > add.txt 2> add.err || status=$?
        case $status in
            0) served=1 ;;
            124) fail "add hangs: $size KiB" ;;
            137) ;;
            *) [ -s add.err ] || fail "it ends without a word: $size KiB" ;;
        esac
        all_is_cleared "$size KiB"
        [ $served = 0 ] || break
    done
    wait_for 5 rmdir $group 2> /dev/null
    [ $served = 1 ] || fail "no size was enough"
}

main
