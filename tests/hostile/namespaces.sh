#!/usr/bin/env bash
# A server does not keep its caller's mount namespace alive: its mounts go with it. A mount that a
# server has made in its caller's namespace is removed from there by `del` in any namespace.
# shellcheck source=tests/hostile/lib_hostile.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_hostile.sh"

main() {
    local frontend
    begin_loop
    export CASE
    for frontend in loop fuse; do
        run_case "no namespace but its own, $frontend" keeps_none "$frontend"
    done
    run_case "a file system that was mounted in a namespace goes with it" goes_with_it
    run_case "a file in a namespace goes with it" file_goes_with_it
    run_case "a file in a namespace is unmounted from outside" unmounted_from_outside
    run_case "a dead server's file in a namespace is cleared from outside" cleared_from_outside
    run_case "a user namespace" in_user_namespace
    finish
}

# private COMMAND: runs COMMAND in a new mount namespace, which stays until leave_namespace.
private() {
    mkfifo fifo
    unshare --mount --propagation private bash -ec "$1; touch ready; read -r < fifo || true" &
    INSIDE=$!
    for _ in {1..200}; do
        [ ! -e ready ] || return 0
        sleep 0.05
    done
    fail "the shell in the namespace is not ready"
}

leave_namespace() {
    exec 6> fifo 6>&-
    wait "$INSIDE"
}

has_namespace() {
    [ "$(readlink "/proc/$1/ns/mnt")" = "$2" ] || ls -l "/proc/$1/fd" | grep -qF "$2"
}

keeps_none() {
    local process theirs
    private "$(declare -f serve note_server id_of field same fail); set +e; CASE='$CASE'
        serve $1"
    note_server
    theirs=$(readlink "/proc/$INSIDE/ns/mnt")
    for process in "$SERVER" $(pgrep -P "$SERVER"); do
        ! has_namespace "$process" "$theirs" || fail "process $process has it"
    done
    leave_namespace
    all_is_cleared "no namespace"
}

goes_with_it() {
    truncate -s 64M image.raw
    mkdir mnt
    # shellcheck disable=SC2016
    private 'dev=$("$SLUICE" add -n 0 --frontend loop image.raw | head -n 1)
        mkfs.ext4 -qF "$dev"
        mount "$dev" mnt
        echo text > mnt/text'
    refused "in use" "$SLUICE" del -n 0
    leave_namespace
    "$SLUICE" del -n 0
    mount -o loop image.raw mnt
    same "what was written" "$(cat mnt/text)" text
    umount mnt
}

file_goes_with_it() {
    truncate -s 64M image.raw
    private '"$SLUICE" add -n 0 --at "$CASE/disk" --mode copy image.raw; test -s disk'
    note_server
    [ ! -s disk ] || fail "it is mounted here as well"
    leave_namespace
    wait_for_end "$SERVER"
    [ ! -e disk ] || fail "disk was left behind"
    all_is_cleared "the end of the namespace"
}

unmounted_from_outside() {
    truncate -s 64M image.raw
    private '"$SLUICE" add -n 0 --at "$CASE/disk" --mode copy image.raw; test -s disk'
    "$SLUICE" del -n 0
    ! grep -q "$CASE/disk" "/proc/$INSIDE/mountinfo" || fail "it is still mounted there"
    [ ! -e disk ] || fail "disk was left behind"
    leave_namespace
    all_is_cleared "del from outside"
}

cleared_from_outside() {
    truncate -s 64M image.raw
    private '"$SLUICE" add -n 0 --at "$CASE/disk" --mode copy image.raw; test -s disk'
    note_server
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    grep -q "$CASE/disk" "/proc/$INSIDE/mountinfo" || fail "it is not mounted there any more"
    "$SLUICE" del -n 0
    ! grep -q "$CASE/disk" "/proc/$INSIDE/mountinfo" || fail "it is still mounted there"
    [ ! -e disk ] || fail "disk was left behind"
    leave_namespace
    all_is_cleared "del from outside"
}

in_user_namespace() {
    truncate -s 64M image.raw
    # shellcheck disable=SC2016
    unshare --user --map-root-user --mount bash -ec '
        "$SLUICE" add -n 0 --at "$CASE/disk" --mode copy image.raw
        echo text | dd of=disk conv=notrunc,fsync status=none
        "$SLUICE" upgrade -n 0
        test "$(head -c 4 disk)" = text
        "$SLUICE" del -n 0
        test ! -e disk' > user.txt 2>&1 || fail "$(cat user.txt)"
    same "what was written" "$(head -c 4 image.raw)" text
    all_is_cleared "a user namespace"
}

main
