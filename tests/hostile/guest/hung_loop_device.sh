#!/usr/bin/env bash
# A foreign loop device does not answer: its file is on a FUSE server that was stopped, and a file
# system on it is mounted. Tests that make file systems still do not wait for it.
#
# shellcheck source=tests/device/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../device/lib.sh"

ASIDE=$SLUICE_SOURCE_DIR/tests/support/aside.sh

main() {
    run_case "it is named, and nothing else is" named
    run_case "file systems are made beside it" beside
    run_case "where all answer, nothing is done" all_answer
    finish
}

# Makes two loop devices: HUNG is mounted and does not answer, OWN answers.
stop_a_neighbour() {
    mkdir neighbour their_mnt
    truncate -s 64M neighbour/image.raw own.raw
    mkfs.ext4 -qF neighbour/image.raw
    SLUICE_STATE_DIR=$CASE/neighbour "$SLUICE" add --frontend fuse --mode copy \
        --at "$CASE/neighbour/disk" neighbour/image.raw > neighbour/add.txt
    NEIGHBOUR=$(sed -nE 's/^ *"pid": ([0-9]+),?$/\1/p' neighbour/device-*.json)
    trap 'kill -KILL "$NEIGHBOUR"; umount -l their_mnt' EXIT
    HUNG=$(losetup -f --show neighbour/disk)
    mount "$HUNG" their_mnt
    OWN=$(losetup -f --show own.raw)
    kill -STOP "$NEIGHBOUR"
}

named() {
    stop_a_neighbour
    same "what hangs" "$("$ASIDE" --hung)" "${HUNG#/dev/}"
}

beside() {
    stop_a_neighbour
    timeout 20 "$ASIDE" bash -ec '
        truncate -s 64M image; mkfs.ext4 -qF image
        e2fsck -fn image
        mkfs.ext4 -q "$1"
        mkdir mnt
        mount "$1" mnt
        umount mnt' bash "$OWN" > log 2>&1 || fail "$(cat log)"
    grep -q "left out: ${HUNG#/dev/}" log || fail "$(cat log)"
    mountpoint -q their_mnt || fail "their mount has gone from everywhere"
}

all_answer() {
    truncate -s 64M own.raw
    losetup -f own.raw
    same "what hangs" "$("$ASIDE" --hung)" ""
    same "mount namespace" "$("$ASIDE" readlink /proc/self/ns/mnt)" "$(readlink /proc/self/ns/mnt)"
}

main
