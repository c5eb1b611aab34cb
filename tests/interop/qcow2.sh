#!/usr/bin/env bash
# Target qcow2 with images of QEMU's tools, which are the judge: after random requests by us and by
# qemu-io in turn the image has the content that it should have, and qemu-img check finds nothing.
# SLUICE_TEST_FULL=1: with more kinds of images; the model tests make all kinds, too.
# shellcheck source=tests/interop/lib_qcow2_disk.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_disk.sh"

main() {
    local width
    begin_qcow2
    run_case "version 2" with_image 24M compat=0.10
    run_case "version 3" with_image 24M compat=1.1
    run_case "clusters of 512 bytes" with_image 3M cluster_size=512
    run_case "clusters of 2 MiB" with_image 24M cluster_size=2M
    for width in $(full && echo 1 2 4 8 32 64 || echo 1 64); do
        run_case "refcounts of $width bits" with_image 12M "refcount_bits=$width,cluster_size=8k"
    done
    run_case "extended L2, 16 KiB" with_image 24M extended_l2=on,cluster_size=16k
    run_case "preallocated" with_image 24M preallocation=metadata
    run_case "odd size" with_image 25690624 cluster_size=64k
    run_case "raw backing file" over raw compat=1.1
    run_case "qcow2 backing file" over qcow2 compat=1.1
    run_case "backing file, extended L2" over qcow2 extended_l2=on
    run_case "shorter backing file" over_shorter
    run_case "longer backing file" over_longer
    run_case "chain" over_chain
    run_case "zlib" compressed zlib
    run_case "zstd" compressed zstd
    run_case "snapshots" keeps_snapshots compat=1.1
    run_case "external raw data file" external data_file=data.raw,data_file_raw=on
    run_case "does not grow" does_not_grow
    ! full || more_kinds
    finish
}

more_kinds() {
    run_case "clusters of 4 KiB" with_image 10M cluster_size=4096
    run_case "extended L2" with_image 24M extended_l2=on
    run_case "raw backing file, version 2" over raw compat=0.10
    run_case "zlib, small clusters" compressed zlib cluster_size=4k
    run_case "snapshots, extended L2" keeps_snapshots extended_l2=on
    run_case "external data file" external data_file=data.raw
}

with_image() {
    qemu-img create -q -f qcow2 -o "$2" image.qcow2 "$1"
    truncate -s "$1" oracle
    in_turn image.qcow2
}

# over FORMAT OPTIONS
over() {
    head -c 16M /dev/urandom > base.raw
    cp base.raw oracle
    [ "$1" = raw ] || qemu-img convert -f raw -O qcow2 base.raw base.qcow2
    qemu-img create -q -f qcow2 -o "$2" -b "base.$1" -F "$1" image.qcow2
    sha256sum "base.$1" > before
    in_turn image.qcow2
    sha256sum --quiet -c before || fail 'the backing file has changed'
}

# T4.8. Sizes that are no multiple of a cluster.
over_shorter() {
    head -c 5000192 /dev/urandom > base.raw
    cp base.raw oracle
    truncate -s 16M oracle
    qemu-img create -q -f qcow2 -b base.raw -F raw image.qcow2 16M
    in_turn image.qcow2
}

over_longer() {
    head -c 16M /dev/urandom > base.raw
    head -c 8M base.raw > oracle
    qemu-img create -q -f qcow2 -b base.raw -F raw image.qcow2 8M
    in_turn image.qcow2
}

over_chain() {
    local i base=base.raw format=raw
    head -c 8M /dev/urandom > base.raw
    cp base.raw oracle
    for i in {1..12}; do
        qemu-img create -q -f qcow2 -b "$base" -F "$format" "layer$i.qcow2"
        qemu-io -f qcow2 -c "write -P $i $((i * 300))k 400k" "layer$i.qcow2" > qemu-io.txt
        qemu-io -f raw -c "write -P $i $((i * 300))k 400k" oracle > qemu-io.txt
        base=layer$i.qcow2 format=qcow2
    done
    in_turn layer12.qcow2
}

# T4.23. compressed TYPE [OPTIONS]
compressed() {
    seq 1 1700000 > oracle
    truncate -s 16M oracle
    qemu-img convert -c -f raw -O qcow2 -o "compression_type=$1${2:+,$2}" oracle image.qcow2
    in_turn image.qcow2
}

# T4.9. A snapshot stays as it was, and can be read.
keeps_snapshots() {
    qemu-img create -q -f qcow2 -o "$1" image.qcow2 16M
    qemu-io -f qcow2 -c 'write -P 3 0 9M' image.qcow2 > qemu-io.txt
    qemu-img snapshot -c first image.qcow2
    qemu-img convert -f qcow2 -O raw image.qcow2 oracle
    cp oracle first.raw
    in_turn image.qcow2
    qemu-img snapshot -c second image.qcow2
    cp oracle second.raw
    in_turn image.qcow2
    serve 'qcow2(image.qcow2, snapshot=first)'
    qemu-img compare -q -f raw -F raw first.raw "$URI"
    end
    qemu-img convert -f qcow2 -O raw -l second image.qcow2 second.back
    cmp second.raw second.back
    refused 'has no snapshot' "$SLUICE" add --frontend nbd --listen unix:sock \
        'qcow2(image.qcow2, snapshot=third)'
    qemu-img snapshot -d first image.qcow2
    in_turn image.qcow2
}

external() {
    qemu-img create -q -f qcow2 -o "$1" image.qcow2 16M
    truncate -s 1M data.raw
    truncate -s 16M oracle
    in_turn image.qcow2
    [ "${1#*raw=on}" = "$1" ] || cmp oracle data.raw
}

# T4.14. allocated clusters stay as many, whatever is overwritten, dropped and written again.
does_not_grow() {
    local before after
    qemu-img create -q -f qcow2 image.qcow2 16M
    head -c 16M /dev/zero > oracle
    serve qcow2:image.qcow2
    for _ in {1..12}; do
        write_randomly
        qemu-io -f raw -c 'discard 0 16M' -c flush -c 'write -P 1 0 16M' -c flush "$URI" \
            > qemu-io.txt
        qemu-io -f raw -c 'write -P 1 0 16M' oracle > qemu-io.txt
        after=$(stat -c %s image.qcow2)
        before=${before:-$after}
    done
    end
    check_image image.qcow2
    [ "$after" -le "$before" ] || fail "the image has grown from $before to $after bytes"
}

main "$@"
