#!/usr/bin/env bash
# sluice thin from-lvm: what it prints of a pool of LVM is that pool, which is served, and goes on
# in LVM.
# seconds: 20
. "$(dirname "$0")/lib.sh"

main() {
    local tool
    for tool in lvm fio thin_dump thin_check python3; do
        command -v $tool > /dev/null || { echo "skipped: there is no $tool"; exit 77; }
    done
    run_case "slices of two physical volumes" pool_in_slices
    run_case "a striped pool" striped_pool
    run_case "a pool that LVM has not changed yet" new_pool
    run_case "served, and back to LVM" served
    finish
}

pool_in_slices() {
    make_group
    lvcreate -q -y -n other -L 100M vg "$FIRST" > /dev/null
    lvcreate -q -y -T -L 64M -V 1G -n volume vg/tp > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    lvextend -q -L +400M vg/tp > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    head -c 40M /dev/urandom > written
    dd if=written of=/dev/vg/volume bs=1M oflag=direct status=none
    lvcreate -q -y -s -n taken vg/volume > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    ! sluice thin from-lvm vg/tp 2> error.txt || fail "the pool is in use"
    grep -q "deactivate it" error.txt
    ! sluice thin from-lvm vg/other 2> error.txt || fail "no pool"
    grep -q "no thin pool" error.txt
    ! sluice thin from-lvm vg/absent 2> error.txt || fail "there is none"
    ! sluice thin from-lvm absent/tp 2> error.txt || fail "there is no such group"
    vgchange -q -an vg > /dev/null
    is_what_lvm_has
    [[ $METADATA == loop\(* && $DATA == linear\(* ]] || fail "$METADATA, $DATA"
    sluice thin from-lvm /dev/vg/tp > pool.txt
    grep -qx "transaction: 2" pool.txt
    grep -qx "device 1: volume, 1G" pool.txt
    # LVM counts, and would find other devices than its own.
    ! sluice thin create "$METADATA" 77 2> error.txt || fail "a pool of LVM is changed"
    grep -q "pool of LVM" error.txt
    sluice thin create --force "$METADATA" 77
    sluice thin delete --force "$METADATA" 77
    sluice thin check "$METADATA" > /dev/null
    vgchange -q -ay vg > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    cmp -n "$(stat -c %s written)" /dev/vg/volume written
    lvcreate -q -y -s -n again vg/volume > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    vgchange -q -an vg > /dev/null
    sluice thin from-lvm vg/tp | grep -qx "transaction: 3"
}

striped_pool() {
    make_group
    lvcreate -q -y -i 2 -I 64k -L 200M -T vg/tp > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    lvcreate -q -y -V 100M -T vg/tp -n volume > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    dd if=/dev/urandom of=/dev/vg/volume bs=1M count=20 oflag=direct status=none
    vgchange -q -an vg > /dev/null
    is_what_lvm_has
    [[ $DATA == stripe\(*chunk=64k\) ]] || fail "$DATA"
}

# Its transaction is 0, as that of any pool.
new_pool() {
    make_group
    lvcreate -q -y --type thin-pool -L 64M -n tp vg > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    vgchange -q -an vg > /dev/null
    is_what_lvm_has
    sluice thin info "$METADATA" | grep -q "^transaction  *0$"
    ! sluice thin create "$METADATA" 1 2> error.txt || fail "a pool of LVM is changed"
    grep -q "lies in a volume group" error.txt
    ! sluice thin grow --data-size 1G "$METADATA" 2> error.txt || fail "a pool of LVM is changed"
    grep -q "lies in a volume group" error.txt
    lvchange -q -ay -y vg/tp_tmeta > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    ! sluice thin create /dev/vg/tp_tmeta 1 2> error.txt || fail "it is active for reading only"
    lvchange -q -an vg/tp_tmeta
}

served() {
    make_group
    lvcreate -q -y -T -L 256M -V 64M -n volume vg/tp > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    dd if=/dev/urandom of=/dev/vg/volume bs=1M count=20 oflag=direct status=none
    sum_of /dev/vg/volume > volume.sum
    vgchange -q -an vg > /dev/null
    is_what_lvm_has
    add "thin($METADATA, $DATA, volume=1, size=64M)" -q 2
    sum_of "$DEV" | cmp - volume.sum
    fio --name=load --filename="$DEV" --ioengine=libaio --direct=1 --rw=randrw --bsrange=4k-128k \
        --iodepth=16 --size=48M --io_size=64M --verify=crc32c --verify_fatal=1 --output=fio.log ||
        fail "$(tail -n 20 fio.log)"
    sum_of "$DEV" > volume.sum
    del
    sluice thin check "$METADATA" > check.txt || fail "$(cat check.txt)"
    vgchange -q -ay vg > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    sum_of /dev/vg/volume | cmp - volume.sum
    lvcreate -q -y -s -n taken vg/volume > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    vgchange -q -an vg > /dev/null
}

sum_of() {
    dd if="$1" bs=1M iflag=direct status=none | sha256sum
}

# Both parts are what LVM makes of them. Sets METADATA and DATA to their SPECs.
is_what_lvm_has() {
    sluice thin from-lvm --json vg/tp > pool.json
    METADATA=$(python3 -c 'import json; print(json.load(open("pool.json"))["metadata"])')
    DATA=$(python3 -c 'import json; print(json.load(open("pool.json"))["data"])')
    sluice thin check "$METADATA" > check.txt || fail "$(cat check.txt)"
    sluice thin dump "$METADATA" > ours.xml
    sluice convert -O raw "$DATA" data.raw
    lvchange -q -ay -y vg/tp_tmeta > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    thin_dump /dev/vg/tp_tmeta | cmp - ours.xml
    lvchange -q -an vg/tp_tmeta
    lvchange -q -ay -y vg/tp_tdata > lvm.txt 2>&1 || fail "$(cat lvm.txt)"
    cmp /dev/vg/tp_tdata data.raw
    lvchange -q -an vg/tp_tdata
}

# Two physical volumes of 320 MiB, and a configuration that works without udev.
make_group() {
    mkdir lvm
    cat > lvm/lvm.conf << END
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
devices { scan = ["/dev"] use_devicesfile = 0 }
END
    export LVM_SYSTEM_DIR=$PWD/lvm LVM_SUPPRESS_FD_WARNINGS=1
    truncate -s 320M first second
    FIRST=$(losetup -f --show first)
    SECOND=$(losetup -f --show second)
    trap remove_group EXIT
    pvcreate -q "$FIRST" "$SECOND" > /dev/null
    vgcreate -q vg "$FIRST" "$SECOND" > /dev/null
}

remove_group() {
    vgchange -q -an vg > /dev/null 2>&1 || true
    losetup -d "$FIRST" "$SECOND" 2> /dev/null || true
}

main
