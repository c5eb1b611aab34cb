#!/usr/bin/env bash
# The machine's swap space is on a Sluice device, and memory is short: the machine goes on, and
# swapped-out pages come back unchanged. The same test with the kernel's own loop device shows that
# the load is bearable. A server that waits for memory hangs the guest.
# seconds: 80
# mem: 256M
# disk: 1G
set -Eeuo pipefail
# shellcheck source=tests/device/lib.sh
. "$SLUICE_SOURCE_DIR/tests/device/lib.sh"

SWAP_MB=320
DISK=${TEST_DISK-}

[ -b "$DISK" ] || { echo "skipped: it takes a guest with little memory and a disk"; exit 77; }
mkfs.ext4 -qF "$DISK"

# Makes disk/swap, on a disk that is not in memory. Its blocks are written, not only preallocated:
# block allocation takes memory.
make_backing() {
    mkdir disk
    mount "$DISK" disk
    [ -e disk/swap ] ||
        dd if=/dev/zero of=disk/swap bs=1M count=$SWAP_MB oflag=direct status=none
}

# Fills more pages than fit into memory, and then checks the content of each, in reverse order:
# swapped-out pages come back while others are swapped out.
press() {
    timeout 900 python3 -c '
import mmap, struct, sys
pages = int(sys.argv[1]) * 256
memory = mmap.mmap(-1, pages * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
where = [i * 4096 + i % 255 * 16 for i in range(pages)]
for i in range(pages):
    struct.pack_into("QQ", memory, where[i], i, ~i & 0xffffffff)
for i in reversed(range(pages)):
    found = struct.unpack_from("QQ", memory, where[i])
    assert found == (i, ~i & 0xffffffff), (i, found)
' "$1"
}

# swap_on DEVICE
swap_on() {
    mkswap -q "$1" > /dev/null 2>&1 || mkswap "$1" > /dev/null
    swapon "$1"
    local before
    before=$(awk '/^pswpout/ { print $2 }' /proc/vmstat)
    press 240
    swapoff "$1"
    local swapped=$(($(awk '/^pswpout/ { print $2 }' /proc/vmstat) - before))
    [ $swapped -gt 10000 ] || fail "only $swapped pages were swapped out"
}

# is_safe [LINE]: `stat` reports that the device is swap safe, or LINE.
is_safe() {
    sluice stat | grep -qxF "${1:-	swap safe: yes}" || fail "$(sluice stat)"
}

says_why() {
    make_backing
    add --mode auto disk/swap
    is_safe "	swap safe: no (the kernel takes memory to lend the pages of requests of more than \
131072 bytes: use --max_io_buf_bytes 131072)"
    del
    add --mode copy disk/swap
    is_safe "	swap safe: no (its requests have buffers of 67108864 bytes and a reserve of only \
8388608: use a smaller --depth or a larger --reserve)"
    del
    add --mode user_copy mem:1M
    is_safe "	swap safe: no ('mem:1M' is in memory)"
    sluice list --json | grep -qF '"swap_safe": false' || fail "list: $(sluice list --json)"
    sluice stat --prometheus | grep -qxF "sluice_device_swap_safe{device=\"$DEV\"} 0" ||
        fail "$(sluice stat --prometheus)"
    del
}

# on_ublk OPTION...
on_ublk() {
    make_backing
    add "$@" disk/swap
    is_safe
    swap_on "$DEV"
    del
}

# Swap safety is not promised here, but the test usually succeeds.
at_risk() {
    make_backing
    add --mode auto disk/swap
    swap_on "$DEV"
    del
}

# on_loop OPTION...
on_loop() {
    local record
    make_backing
    DEV=$(sluice add --frontend loop "$@" disk/swap | head -n 1)
    record=$(echo "$SLUICE_STATE_DIR"/device-*.json)
    ID=${record##*-}
    ID=${ID%.json}
    is_safe
    swap_on "$DEV"
    del
}

on_losetup() {
    make_backing
    DEV=$(losetup -f --show --direct-io=on disk/swap)
    swap_on "$DEV"
    losetup -d "$DEV"
}

# Shows, if another case fails, whether the test itself is right.
! full || run_case "the kernel's own loop device" on_losetup
run_case "ublk, auto" on_ublk --mode auto --max_io_buf_bytes 128k
! full || run_case "ublk, auto, with requests that the kernel may need memory for" at_risk
! full || run_case "ublk, user_copy" on_ublk --mode user_copy
run_case "ublk, copy, buffers within the reserve" on_ublk --mode copy -d 16
! full || run_case "a loop device, copy" on_loop --mode copy
run_case "a loop device, passthrough" on_loop --mode passthrough
run_case "what cannot hold swap space says why" says_why
finish
