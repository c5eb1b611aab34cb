#!/usr/bin/env bash
# Target rbd beside the kernel's own client, on one cluster: it reads what we have written, and
# writes what we read. Debian's kernel has that client, and ours for the other guest has not.
# guest: qemu
# mem: 3G
# seconds: 60
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/device/lib_rbd.sh
. "$(dirname "$0")/lib_rbd.sh"

main() {
    [ -d /sys/bus/rbd ] || modprobe rbd 2> /dev/null ||
        { echo "skipped: this kernel has no client of RBD"; exit 77; }
    start_cluster 16990
    run_case "both ways" both_ways
    finish
}

both_ways() {
    rbd create --size 32M --image-feature layering,exclusive-lock rbd/kernel
    head -c 20M /dev/urandom > oracle
    add "$(spec kernel)"
    dd if=oracle of="$DEV" bs=1M oflag=direct conv=notrunc status=none
    del
    map_by_kernel
    cmp -n $((20 << 20)) oracle "$MAPPED" || { unmap; fail "krbd reads something else"; }
    tr 'a-y' 'b-z' < oracle > changed
    dd if=changed of="$MAPPED" bs=1M oflag=direct conv=notrunc status=none
    unmap
    add "$(spec kernel)"
    cmp -n $((20 << 20)) changed "$DEV" || fail "we read something else than krbd wrote"
    del
}

# `rbd` waits for udev, which a guest has not.
map_by_kernel() {
    rbd map --options ms_mode=prefer-crc,noudev rbd/kernel > map.txt 2>&1 || fail "$(cat map.txt)"
    MAPPED=/dev/rbd0
    wait_for 20 test -b "$MAPPED"
}

unmap() {
    sync "$MAPPED"
    rbd unmap --options noudev "$MAPPED"
}

main
