#!/usr/bin/env bash
# `add` with the odd descriptors, signals and limits of a caller: either the device is made and
# works, or `add` fails with one sentence and leaves nothing behind. Only the client ever writes to
# an image.
# shellcheck source=tests/hostile/lib_hostile.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_hostile.sh"

main() {
    local frontend closed
    begin_loop_plain
    for closed in 0 1 2 01 02 12 012; do
        run_case "descriptors $closed closed" standard_closed $closed
    done
    for frontend in loop fuse; do
        run_case "descriptors 012 closed, in the foreground, $frontend" foreground_closed $frontend
    done
    run_case "the caller's descriptors" callers_descriptors
    run_case "a path below /dev/fd" numbered_path
    run_case "no environment" no_environment
    run_case "signals that the caller ignores or blocks" signals_ignored
    run_case "nowhere to print to" nowhere_to_print
    run_case "few files" limited --nofile 3 4 5 6 7 8 9 10 11 12 13 14 15 16 18 20 24 28 32
    is_instrumented ||
        run_case "little memory" limited --as 33554432 67108864 134217728 201326592 268435456
    run_case "small files" small_files
    run_case "few threads" few_threads
    for frontend in loop fuse; do
        run_case "a memory cgroup, $frontend" little_memory $frontend
    done
    finish
}

# works WHEN: the device has its size, and works.
works() {
    local bytes
    [ -e "$DEV" ] || fail "no device: $1"
    bytes=$(blockdev --getsize64 "$DEV" 2> /dev/null || stat -c %s "$DEV")
    same "size, $1" "$bytes" $((16 << 20))
    printf client | dd of="$DEV" bs=4k seek=100 conv=notrunc,fsync status=none
    same "read, $1" "$(dd if="$DEV" bs=4k skip=100 count=1 status=none | head -c 6)" client
}

# An image whose bytes are all equal, except for those that works() writes.
make_image() {
    head -c $((16 << 20)) /dev/zero | tr '\0' x > image.raw
}

is_untouched() {
    [ "$(head -c $((100 << 12)) image.raw | tr -d x | wc -c)" = 0 ] ||
        fail "the image was written: $(tr -d x < image.raw | head -c 200): $1"
}

# deleted WHEN: deletes the device; nothing is left, and the image is unchanged.
deleted() {
    timeout 30 "$SLUICE" del -a > del.txt 2>&1 || fail "del: $(cat del.txt): $1"
    is_untouched "$1"
    same "state files, $1" "$(ls "$SLUICE_STATE_DIR")" ""
}

standard_closed() {
    local closed=$1
    make_image
    # Only output to descriptors that stay open can be checked afterwards.
    timeout 20 bash -c '[[ '"$closed"' != *0* ]] || exec 0<&-
        [[ '"$closed"' != *2* ]] || exec 2>&-
        [[ '"$closed"' != *1* ]] || exec 1>&-
        "$0" add -n 0 --at "$1/disk" --mode copy "loop(image.raw, buffered_io)"' \
        "$SLUICE" "$CASE" < /dev/null > add.txt 2> add.err ||
        fail "add does not return, or fails: $? $(cat add.err)"
    DEV=$CASE/disk
    works "$closed closed"
    deleted "$closed closed"
}

foreground_closed() {
    local place=()
    make_image
    [ "$1" = loop ] || place=(--at "$CASE/disk")
    "$SLUICE" add -n 0 --frontend "$1" --foreground --mode copy "${place[@]}" \
        "loop(image.raw, buffered_io)" <&- >&- 2>&- &
    for _ in {1..200}; do
        [ ! -S "$SLUICE_STATE_DIR/device-0.sock" ] || break
        sleep 0.05
    done
    ID=0
    DEV=$(field path)
    works foreground
    deleted foreground
    wait $!
}

# A lock of the calling shell ends with the shell, and the server has none of its open files.
callers_descriptors() {
    local process
    make_image
    (
        flock 7
        exec 8< /etc/passwd
        timeout 20 "$SLUICE" add -n 0 --frontend loop --mode copy image.raw > add.txt
    ) 6< <(sleep 60) 7> lock
    DEV=$(head -n 1 add.txt)
    note_server
    flock --nonblock lock true || fail "the caller's lock is held"
    for process in "$SERVER" $(pgrep -P "$SERVER"); do
        if ls -l "/proc/$process/fd" | grep -E '/etc/passwd|/lock$|pipe:'; then
            fail "process $process has it"
        fi
    done
    works "descriptors"
    deleted "descriptors"
}

numbered_path() {
    make_image
    timeout 20 "$SLUICE" add -n 0 --frontend loop --mode copy /dev/fd/7 7<> image.raw > add.txt
    DEV=$(head -n 1 add.txt)
    works /dev/fd/7
    timeout 30 "$SLUICE" upgrade -n 0 > upgrade.txt
    works "/dev/fd/7, upgraded"
    deleted /dev/fd/7
    refused "'/dev/fd/9' is not open" "$SLUICE" add --frontend loop --mode copy /dev/fd/9
}

no_environment() {
    make_image
    (umask 0 && timeout 20 env -i SLUICE_STATE_DIR="$SLUICE_STATE_DIR" "$SLUICE" add -n 0 \
        --frontend loop --mode copy image.raw) > add.txt
    DEV=$(head -n 1 add.txt)
    works "no environment"
    timeout 20 env -i SLUICE_STATE_DIR="$SLUICE_STATE_DIR" "$SLUICE" stat > stat.txt
    deleted "no environment"
}

signals_ignored() {
    make_image
    python3 - "$SLUICE" "$CASE/disk" > add.txt << 'END'
import os, signal, sys
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 31))
os.execv(sys.argv[1], [sys.argv[1], "add", "-n", "0", "--at", sys.argv[2], "image.raw"])
END
    DEV=$(head -n 1 add.txt)
    works "signals"
    note_server
    kill -TERM "$SERVER"
    wait_for_end "$SERVER"
    is_untouched "signals"
    same "state files" "$(ls "$SLUICE_STATE_DIR")" ""
}

nowhere_to_print() {
    local form
    make_image
    for form in "" --json --quiet; do
        # shellcheck disable=SC2086
        if timeout 20 "$SLUICE" add -n 0 --frontend loop $form image.raw > /dev/full 2> error; then
            fail "that is no failure: $form"
        fi
        same "sentence, $form" "$(cat error)" \
            "sluice: cannot write to the standard output: No space left on device"
        same "state files, $form" "$(ls "$SLUICE_STATE_DIR")" ""
        same "servers, $form" "$(ours)" ""
    done
}

# limited LIMIT VALUE...: calls `add` with each value of an option of prlimit.
limited() {
    local limit=$1 value served=0
    make_image
    shift
    for value in "$@"; do
        if timeout 20 prlimit "$limit=$value" "$SLUICE" add -n 0 --at "$CASE/disk" --mode copy \
            image.raw > add.txt 2> add.err; then
            DEV=$CASE/disk
            works "$limit $value"
            served=1
        else
            [ $? -ne 124 ] || fail "add hangs: $limit $value"
            [ -s add.err ] || fail "it ends without a word: $limit $value"
        fi
        deleted "$limit $value"
        same "servers, $limit $value" "$(ours)" ""
        same "mounts, $limit $value" "$(mounts_in_case)" ""
        [ ! -e disk ] || fail "disk is left: $limit $value"
        rm -f "$SLUICE_STATE_DIR"/*
    done
    [ $served = 1 ] || fail "no value was enough: $limit $*"
}

# A write beyond the limit fails, and does not end the server.
small_files() {
    make_image
    timeout 20 prlimit --fsize=1048576 "$SLUICE" add -n 0 --at "$CASE/disk" --mode copy \
        "loop(image.raw, buffered_io)" > add.txt
    DEV=$CASE/disk
    works "below the limit"
    if dd if=/dev/zero of=disk bs=4k seek=1000 count=1 conv=notrunc,fsync 2> dd.err; then
        fail "a write beyond the limit does not fail"
    fi
    grep -q "File too large" dd.err || fail "$(cat dd.err)"
    works "after it"
    deleted "small files"
}

# RLIMIT_NPROC does not limit root, but a cgroup does.
few_threads() {
    local group=/sys/fs/cgroup/pids value served=0
    [ -e $group/cgroup.procs ] || group=/sys/fs/cgroup
    group+=/sluice-test-$$
    if ! mkdir $group 2> /dev/null || ! [ -e $group/pids.max ]; then
        rmdir $group 2> /dev/null || true
        echo "# skipped: no pids cgroup here"
        return 0
    fi
    make_image
    for value in 1 2 3 4 5 6 7 8 9 10 12 14 16 24; do
        echo $value > $group/pids.max
        # shellcheck disable=SC2016
        if timeout 20 bash -c 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"' - $group \
            "$SLUICE" add -n 0 --at "$CASE/disk" --mode copy image.raw > add.txt 2> add.err; then
            DEV=$CASE/disk
            works "$value threads"
            served=1
            note_server
            echo 1 > $group/pids.max  # nor can it start threads when it stops
            kill -TERM "$SERVER"
            wait_for_end "$SERVER"
        elif [ $? -eq 124 ]; then
            fail "add hangs: $value threads"
        fi
        deleted "$value threads"
        same "mounts, $value threads" "$(mounts_in_case)" ""
        [ ! -e disk ] || fail "disk is left: $value threads"
        rm -f "$SLUICE_STATE_DIR"/*
    done
    remove_group $group
    [ $served = 1 ] || fail "no value was enough"
}

# The OOM killer kills the server, its keeper or the calling `add`, at any step. `add` must print a
# message unless it was killed. A server that is killed right after `add` has ended had too little.
little_memory() {
    local place=() size step=1536 status served=0 kills
    ! full || step=512
    make_memory_group || { echo "# skipped: no memory cgroup here"; return 0; }
    make_image
    [ "$1" = loop ] || place=(--at "$CASE/disk")
    for size in $(seq 1024 $step 12288) 16384 24576 32768 65536 131072; do
        echo ${size}K > "$LIMIT"
        status=0
        kills=$(killed_in_group)
        # shellcheck disable=SC2016
        (timeout 30 bash -c 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"' - "$GROUP" \
            "$SLUICE" add -n 0 --frontend "$1" "${place[@]}" --mode copy image.raw ||
            exit $?) > add.txt 2> add.err || status=$?
        nobody_hangs "$size KiB"
        case $status in
            0)
                DEV=$(head -n 1 add.txt)
                if (works "$size KiB") > works.txt 2>&1; then
                    served=1
                elif [ "$(killed_in_group)" = "$kills" ]; then
                    fail "$(< works.txt)"
                fi
                ;;
            124) fail "add hangs: $size KiB" ;;
            137) ;;
            *) [ -s add.err ] || fail "it ends without a word: $size KiB" ;;
        esac
        is_untouched "$size KiB"
        all_is_cleared "$size KiB"
        [ $served = 0 ] || break
    done
    remove_group "$GROUP"
    [ $served = 1 ] || fail "no size was enough"
}

# Makes a memory cgroup without swap, which would only delay the OOM killer. Sets GROUP and the file
# LIMIT.
make_memory_group() {
    local root=/sys/fs/cgroup/memory
    [ -e $root/cgroup.procs ] || root=/sys/fs/cgroup
    GROUP=$root/sluice-test-$$-$BASHPID
    mkdir "$GROUP" 2> /dev/null || return 1
    for LIMIT in "$GROUP/memory.max" "$GROUP/memory.limit_in_bytes"; do
        [ -e "$LIMIT" ] || continue
        [ ! -e "$GROUP/memory.swap.max" ] || echo 0 > "$GROUP/memory.swap.max"
        return 0
    done
    rmdir "$GROUP"
    return 1
}

# How many processes the OOM killer has killed there.
killed_in_group() {
    local file
    for file in memory.events memory.oom_control; do
        [ ! -e "$GROUP/$file" ] || sed -n 's/^oom_kill //p' "$GROUP/$file"
    done
}

# A group is busy for a moment after its last process has ended.
remove_group() {
    for _ in {1..100}; do
        ! rmdir "$1" 2> /dev/null || return 0
        sleep 0.05
    done
    fail "$1 cannot be removed"
}

main
