# shellcheck shell=bash
# Common code of the hostile tests of loop and FUSE devices, on top of lib_loop.sh.
# shellcheck source=tests/interop/lib_loop.sh
. "$SLUICE_SOURCE_DIR/tests/interop/lib_loop.sh"

# ours: prints the servers and keepers of this case, found by its state directory.
ours() {
    local environment
    for environment in $(grep -lsaF "SLUICE_STATE_DIR=$CASE/" /proc/[0-9]*/environ || true); do
        environment=${environment#/proc/}
        [ "$(readlink "/proc/${environment%/environ}/exe")" != "$(readlink -f "$SLUICE")" ] ||
            echo "${environment%/environ}"
    done
}

# others_go_on WHEN: unrelated commands do not hang because of a dead server.
others_go_on() {
    timeout 3 losetup -a > losetup.txt || fail "losetup -a hangs: $1"
    timeout 3 "$SLUICE" list > list.txt 2>&1 || fail "list hangs or fails: $1: $(cat list.txt)"
}

# nobody_hangs WHEN: neither unrelated commands nor the processes of this case hang.
nobody_hangs() {
    local pid deadline=$((SECONDS + 2))
    others_go_on "$1"
    for pid in $(ours); do
        while grep -qs '^State:.D' "/proc/$pid/status"; do
            [ $SECONDS -lt $deadline ] || fail "process $pid hangs in $(cat "/proc/$pid/wchan"): $1"
            sleep 0.05
        done
    done
}

# all_is_cleared WHEN: all devices can be deleted, nothing is left, and the image is free.
all_is_cleared() {
    local left
    timeout 30 "$SLUICE" del -a --force > del.txt 2>&1 ||
        fail "del -a --force: $(cat del.txt): $1"
    for _ in {1..60}; do
        left=$(ours)
        [ -n "$left" ] || break
        sleep 0.05
    done
    # shellcheck disable=SC2086
    [ -z "$left" ] || fail "processes are left: $(ps -o pid,stat,args -p ${left//$'\n'/,}): $1"
    same "state files after $1" "$(ls "$SLUICE_STATE_DIR")" ""
    same "mounts after $1" "$(mounts_in_case)" ""
    [ ! -e disk ] || fail "disk was left behind: $1"
    timeout 20 "$SLUICE" add --at "$CASE/again" --mode copy image.raw > /dev/null ||
        fail "the image is not free: $1"
    timeout 20 "$SLUICE" del -a > /dev/null
}

# serve loop|fuse [OPTION...]: serves image.raw as DEV.
serve() {
    local frontend=$1
    shift
    [ -e image.raw ] || truncate -s 64M image.raw
    [ "$frontend" = loop ] || set -- --at "$CASE/disk" "$@"
    timeout 20 "$SLUICE" add -n 0 --frontend "$frontend" --mode copy "$@" image.raw > add.txt \
        2> add.err || return
    DEV=$(head -n 1 add.txt)
    note_server
}

# Writes to the page cache, without writeback.
make_dirty() {
    dd if=/dev/zero of="$DEV" bs=64k count=64 conv=notrunc status=none
}
