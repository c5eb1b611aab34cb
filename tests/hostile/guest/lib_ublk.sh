# shellcheck shell=bash
# Common code of the hostile tests of ublk devices, on top of tests/device/lib.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../../device/lib.sh"

# ours: prints the servers and keepers of this case, found by its state directory.
ours() {
    local environment
    for environment in $(grep -lsaF "SLUICE_STATE_DIR=$CASE/" /proc/[0-9]*/environ || true); do
        environment=${environment#/proc/}
        environment=${environment%/environ}
        [ "$(readlink "/proc/$environment/exe")" != "$(readlink -f "$SLUICE")" ] ||
            echo "$environment"
    done
}

# all_is_cleared WHEN: all devices can be deleted, nothing is left, and the image is free.
all_is_cleared() {
    local left
    timeout 5 "$SLUICE" list > list.txt 2>&1 || fail "list: $(cat list.txt): $1"
    timeout 40 "$SLUICE" del -a --force > del.txt 2>&1 || fail "del: $(cat del.txt): $1"
    for _ in {1..100}; do
        left=$(ours)
        [ -n "$left" ] || break
        sleep 0.05
    done
    # shellcheck disable=SC2086
    [ -z "$left" ] ||
        fail "processes are left: $(ps -o pid,stat,args -p ${left//$'\n'/,}): $1"
    same "state files after $1" "$(names state)" ""
    same "devices after $1" "$(names /sys/class/ublk-char)" ""
    sluice add -n 0 image.raw > add.txt 2>&1 || fail "the image is not free: $1: $(cat add.txt)"
    sluice del -n 0 || fail "what was made afterwards cannot be deleted: $1"
}

make_image() {
    [ -e image.raw ] || truncate -s 32M image.raw
}

# serve [OPTION...]: serves image.raw as /dev/ublkb0.
serve() {
    DEV=/dev/ublkb0 ID=0
    make_image
    timeout 30 "$SLUICE" add -n 0 "$@" image.raw > add.txt 2> add.err
}

# Writes to the page cache, without writeback.
make_dirty() {
    dd if=/dev/zero of="$DEV" bs=64k count=16 conv=notrunc status=none
}
