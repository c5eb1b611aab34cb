#!/usr/bin/env bash
# Loop devices are reused, and keep some settings of their former users.
# Whoever attaches a loop device meanwhile could get the one that is read-only:
# alone: 1
# shellcheck source=tests/interop/lib_loop.sh
. "$(dirname "${BASH_SOURCE[0]}")/../interop/lib_loop.sh"

main() {
    begin_loop_plain
    run_case "it was made read-only" read_only
    run_case "it was made read-only before the file was" both_read_only
    run_case "it had other blocks" other_blocks
    finish
}

# used COMMAND...: attaches the next free loop device, runs COMMAND on it, and detaches it. Sets
# FREE.
used() {
    truncate -s 8M former.img
    FREE=$(losetup -f)
    losetup "$FREE" former.img
    "$@" "$FREE"
    losetup -d "$FREE"
    for _ in {1..100}; do
        [ -e "/sys/block/${FREE#/dev/}/loop/backing_file" ] || return 0
        sleep 0.02
    done
    fail "$FREE is not free"
}

# Another test may have taken the device meanwhile: then another device is tried.
serve_on_used() {
    local attempt
    for attempt in 1 2 3 4 5; do
        used "$@"
        serve_loop copy 1
        [ "$DEV" != "$FREE" ] || return 0
        stop_loop
    done
    fail "$attempt times another device was free"
}

read_only() {
    serve_on_used blockdev --setro
    same "read-only" "$(blockdev --getro "$DEV")" 0
    mkfs.ext4 -q "$DEV"
    mkdir mnt
    mount "$DEV" mnt
    echo text > mnt/file
    unmount mnt
    stop_loop
}

both_read_only() {
    truncate -s 8M image.raw
    used blockdev --setro
    serve_loop copy 1 --read_only image.raw
    same "read-only" "$(blockdev --getro "$DEV")" 1
    if dd if=/dev/zero of="$DEV" bs=4k count=1 oflag=direct 2> /dev/null; then
        fail "a read-only device took a write"
    fi
    stop_loop
}

other_blocks() {
    serve_on_used losetup --sector-size 4096
    same "blocks" "$(blockdev --getss "$DEV")" 512
    stop_loop
}

main
