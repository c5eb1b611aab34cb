#!/usr/bin/env bash
# `info` and `create` on qcow2 images, with QEMU as the judge: images that `create` has made are
# QEMU's, images in use are refused, and what is refused leaves nothing behind.
# SLUICE_TEST_SEED=N: repeats the run with this seed.
# shellcheck source=tests/interop/lib_qcow2.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2.sh"

main() {
    run_cases created_images raw_images images_in_use backing_chains what_is_refused
}

created_images() {
    local options
    qemu-img create -q -f raw base.raw 3M
    qemu-io -f raw -c "write -P 5 0 3M" base.raw >/dev/null
    while read -r options; do
        rm -f new external.data
        expect 0 "" create -f qcow2 --size 5M -o "$options" new
        judge new "$options"
        full || [ $((RANDOM % 4)) -eq 0 ] || continue
        expect 0 "" create -f qcow2 --size 5M -o "$options" --force new
        judge new "again: $options"
    done < <(created_kinds)
    expect 0 "" create -f qcow2 -b base.raw -F raw top.qcow2
    qemu-io -c "read -P 5 0 3M" -c "write -P 6 1M 1M" top.qcow2 >io.out || problem "$(cat io.out)"
    expect 0 "" create -f qcow2 -b top.qcow2 -F qcow2 --size 4M -o extended_l2=on \
        -o preallocation=metadata top2.qcow2
    qemu-io -c "read -P 5 0 1M" -c "read -P 6 1M 1M" -c "read -P 0 3M 1M" top2.qcow2 >io.out ||
        problem "$(cat io.out)"
    grep -q "verification failed" io.out && problem "$(cat io.out)"
    agree top2.qcow2 counts
    helper info top.qcow2
    mkdir below
    expect 0 "" create -f qcow2 -b ../base.raw -F raw below/top.qcow2
    qemu-io -c "read -P 5 0 3M" below/top.qcow2 >io.out || problem "$(cat io.out)"
    rm -r below
    same_bytes
}

created_kinds() {
    local each
    for each in 512 4k 64k 2M; do
        echo "cluster_size=$each"
        echo "cluster_size=$each,preallocation=metadata"
    done
    for each in 1 2 4 8 32 64; do
        echo "refcount_bits=$each,cluster_size=1k,preallocation=metadata"
    done
    echo "compat=0.10"
    echo "compat=0.10,cluster_size=512,preallocation=full"
    echo "compat=1.1,lazy_refcounts=on,compression_type=zstd"
    echo "extended_l2=on"
    echo "extended_l2=on,preallocation=metadata,cluster_size=16k"
    echo "preallocation=falloc"
    echo "preallocation=full,cluster_size=4k"
    echo "data_file=external.data"
    echo "data_file=external.data,data_file_raw=on,cluster_size=4k"
    echo "data_file=external.data,preallocation=falloc"
}

# judge IMAGE WHAT: QEMU accepts it, reads zeroes, writes, and still finds nothing.
judge() {
    qemu-img check -q "$1" </dev/null >check.out 2>&1 || problem "$2: $(cat check.out)"
    qemu-io -c "read -P 0 0 5M" -c "write -P 8 1000k 999k" "$1" </dev/null >io.out 2>&1
    case $2 in
        *preallocation* | *data_file* | *2M*) ;;
        *) qemu-io -c "write -c -P 4 3M 64k" "$1" </dev/null >>io.out 2>&1 ;;
    esac
    qemu-io -c "read -P 8 1000k 999k" "$1" </dev/null >>io.out 2>&1
    grep -q "fail\|error\|can't" io.out && problem "$2: $(cat io.out)"
    agree "$1" counts
    helper info "$1"
}

# Without backing file and features, the header has the bytes of qemu-img.
same_bytes() {
    rm -f ours theirs
    "$SLUICE" create -f qcow2 --size 5M ours
    qemu-img create -q -f qcow2 theirs 5M
    python3 -c '
ours, theirs = (open(name, "rb").read(4096) for name in ("ours", "theirs"))
differ = [i for i in range(4096) if ours[i] != theirs[i]]
assert not differ, differ' || problem "another header than QEMU'\''s"
}

raw_images() {
    local how
    for how in off falloc full; do
        expect 0 "" create --size 3M -o preallocation=$how raw.img --force
        [ "$(stat -c %s raw.img)" = $((3 << 20)) ] || problem "raw.img has the wrong size"
    done
    [ "$(stat -c %b raw.img)" -ge $((3 << 11)) ] || problem "raw.img is not allocated"
    helper info raw.img
    expect 63 "nothing to check" check raw.img
    expect 63 "nothing to check" check --json raw.img
    expect 0 "file format: raw" info raw.img
    qemu-img create -q -f vmdk other.vmdk 1M
    expect 0 "file format: vmdk" info other.vmdk
    expect 63 "is a vmdk image" check other.vmdk
}

# --- Other programs, and other files.

images_in_use() {
    local qemu
    make used "cluster_size=64k" 5
    hold_open used
    expect 1 "or read it as it is now with -U" info used
    expect 0 "virtual size" info -U used
    expect 1 "attached for writing" check used
    expect 1 "in use elsewhere" check --repair all used
    expect 1 "in use elsewhere" create --size 1M --force used
    let_go
    expect 0 "no errors" check used
    hold_open -r used
    expect 0 "no errors" check used
    expect 1 "in use elsewhere" check --repair all used
    let_go
}

# hold_open ARGUMENT...: qemu-io has the image open when it answers. Looking for its locks with
# qemu-img instead could make it fail.
hold_open() {
    : >held.out
    coproc qemu-io "$@" >held.out 2>&1
    qemu=$!
    echo "read 0 512" >&"${COPROC[1]}"
    for _ in {1..200}; do
        grep -q "read 512/512" held.out && return
        sleep 0.05
    done
    problem "qemu-io does not open the image: $(cat held.out)"
}

let_go() {
    kill "$qemu"
    wait "$qemu" 2>/dev/null
}

backing_chains() {
    make base.qcow2 "cluster_size=64k" 5
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 middle.qcow2
    qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 top.qcow2
    expect 0 "backing file: middle.qcow2" info top.qcow2
    [ "$(grep -c '^image:' output)" = 1 ] || problem "info shows the backing file unasked"
    expect 0 "image: base.qcow2" info --backing-chain top.qcow2
    [ "$(grep -c '^image:' output)" = 3 ] || problem "not three images"
    rm middle.qcow2
    expect 0 "backing file: middle.qcow2" info top.qcow2
    expect 1 "'middle.qcow2' does not exist" info --backing-chain top.qcow2
    mkfifo middle.qcow2
    expect 0 "backing file: middle.qcow2" info top.qcow2
    expect 1 "is a fifo" info --backing-chain top.qcow2
    rm middle.qcow2
    ln top.qcow2 middle.qcow2
    expect 1 "its own backing file" info --backing-chain top.qcow2
    qemu-img rebase -q -u -b nbd://localhost/secret -F raw top.qcow2
    expect 0 "backing file: nbd://localhost/secret" info top.qcow2
    expect 1 "only QEMU opens it" info --backing-chain top.qcow2
}

what_is_refused() {
    echo "keep this" >present
    cp present copy
    expect 1 "'present' exists" create --size 1M present
    expect 1 "'present' exists" create -f qcow2 --size 1M present
    expect 2 "clusters of 512" create -f qcow2 --size 1P -o cluster_size=512 --force present
    expect 1 "does not exist" create -f qcow2 -b missing -F raw --size 1M --force present
    expect 1 "no qcow2 image, as -F says, but raw" create -f qcow2 -b copy -F qcow2 new
    expect 1 "the same file" create -f qcow2 -b present -F raw --force present
    expect 1 "the same file" create -f qcow2 --size 1M --force -o data_file=present present
    expect 1 "the same file" create -f qcow2 -b copy -F raw --force -o data_file=copy present
    expect 1 "cannot create" create -f qcow2 --size 1M --force -o data_file=missing/data present
    expect 1 "'copy' exists" create -f qcow2 --size 1M -o data_file=copy new
    expect 1 "cannot create" create --size 1M missing/new
    expect 1 "" create -f qcow2 --size 1M -o "data_file=missing/data" new
    expect 1 "is no file for QEMU" create -f qcow2 -b nbd:x -F raw new
    cmp -s present copy || problem "a refused command has changed a file"
    [ ! -e new ] || problem "a refused command has left a file"
    head -c 100k /dev/urandom >noise
    printf 'QFI\xfb\0\0\0\3' | dd of=noise conv=notrunc status=none
    expect 1 "cannot be checked" check noise
    expect 1 "cannot be read" info noise
    expect 1 "cannot be checked" check --repair all noise
    printf 'QFI\xfb\0\0\0\3' >short
    expect 1 "" check short
    expect 1 "" info short
    : >none
    expect 63 "raw" check none
    expect 1 "does not exist" check nowhere
    mkdir folder
    expect 1 "is a directory" info folder
    rmdir folder
}


main
