# shellcheck shell=bash
# Common code of the tests of --frontend loop, on top of lib_fuse.sh.
# shellcheck source=tests/interop/lib_fuse.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_fuse.sh"

begin_loop() {
    begin
    need_loop
}

# Leaves FUSE over io_uring as it is.
begin_loop_plain() {
    begin_plain
    need_loop
}

need_loop() {
    [ -e /dev/loop-control ] || modprobe loop || true
    [ -e /dev/loop-control ] || { echo "skipped: this kernel has no loop devices"; exit 77; }
}

# serve_loop PATH DIRECT [OPTION... SPEC]: serves image.raw as a loop device, by this data path,
# with direct (1) or buffered (0) I/O. Sets DEV, ID and SERVER.
serve_loop() {
    local path=$1 direct=$2
    shift 2
    [ -e image.raw ] || truncate -s 512M image.raw
    [ $# -ne 0 ] || set -- image.raw
    DEV=$("$SLUICE" add --frontend loop --mode "$path" --loop_direct_io "$direct" "$@" | head -n 1)
    note_server
    same "data path" "$(field mode)" "$path"
    [ -b "$DEV" ] || fail "$DEV is no block device"
    same "direct I/O" "$(losetup -n -O DIO "$DEV" | tr -d ' ')" "$direct"
}

stop_loop() {
    "$SLUICE" del -n "$ID"
    wait_for_end "$SERVER"
    wait_until_detached
}

wait_until_detached() {
    for _ in {1..200}; do
        [ -e "/sys/block/${DEV#/dev/}/loop/backing_file" ] || return 0
        sleep 0.05
    done
    fail "$DEV is still attached: $(losetup -l "$DEV")"
}
