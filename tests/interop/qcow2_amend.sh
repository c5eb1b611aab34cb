#!/usr/bin/env bash
# `amend`, with QEMU as the judge: the image says what was asked for, has the content and the
# snapshots that it had, and is sound after a death at any step.
# SLUICE_TEST_SEED=N: repeats the run with this seed.
# shellcheck source=tests/interop/lib_qcow2.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2.sh"

main() {
    run_cases versions refcount_widths flags_and_names sizes killed_at_steps what_is_refused
}

begin() {
    rm -f snapshot.raw
    make image "$1" 25
    case $1 in *refcount_bits=1,* | *data_file* | *nosnap*) ;; *)
        qemu-img snapshot -c one image
        qemu-img convert -l one -O raw image snapshot.raw </dev/null
        scribble image 5 ;;
    esac
    qemu-img convert -O raw image content </dev/null
}

# says TEXT: a line of qemu-img info.
says() {
    qemu-img info image | grep -qF -- "$1" || problem "not '$1': $(qemu-img info image)"
}

versions() {
    local size
    for size in 512 4k 64k; do
        begin "compat=0.10,cluster_size=$size"
        expect 0 "" amend -o compat=1.1 image
        says "compat: 1.1"
        is_sound "version 3, clusters of $size"
        qemu-io -c "write -z 3M 1M" -c "write -z -u 1M 300k" image </dev/null >/dev/null
        qemu-img convert -O raw image content </dev/null
        expect 0 "" amend -o compat=0.10 image
        says "compat: 0.10"
        is_sound "version 2 again, clusters of $size"
        qemu-img amend -o compat=v3 image || problem "QEMU cannot amend it"
        is_sound "version 3 by QEMU, clusters of $size"
        expect 0 "" amend -o compat=v2 image
        is_sound "version 2 once more, clusters of $size"
        helper info image
    done
    # With the name of a backing file, which moves.
    qemu-img create -q -f raw base.raw 6M
    qemu-io -f raw -c "write -P 5 0 6M" base.raw >/dev/null
    rm -f snapshot.raw
    qemu-img create -q -f qcow2 -o compat=0.10 -b base.raw -F raw image
    cp base.raw content
    expect 0 "" amend -o compat=1.1 image
    says "backing file: base.raw"
    is_sound "an overlay of version 3"
    expect 0 "" amend -o compat=0.10 image
    says "backing file format: raw"
    is_sound "an overlay of version 2"
}

refcount_widths() {
    local bits
    begin "cluster_size=1k"
    for bits in 2 64 8 32 4 16; do
        expect 0 "" amend -o refcount_bits=$bits image
        says "refcount bits: $bits"
        is_sound "refcounts of $bits bits"
        qemu-io -c "write -P $bits 2M 99k" image </dev/null >/dev/null
        qemu-img convert -O raw image content </dev/null
        is_sound "written with refcounts of $bits bits"
    done
    cp image before
    expect 1 "refcount_bits=1 is too narrow: the cluster at offset" amend -o refcount_bits=1 image
    cmp -s image before || problem "a refused command has changed the image"
    qemu-img snapshot -d one image
    rm snapshot.raw
    expect 0 "" amend -o refcount_bits=1,lazy_refcounts=on image
    says "refcount bits: 1"
    says "lazy refcounts: true"
    is_sound "refcounts of one bit"
    begin "compat=0.10"
    expect 0 "" amend -o compat=1.1,refcount_bits=64 image
    says "refcount bits: 64"
    is_sound "version 3 with refcounts of 64 bits"
    expect 0 "" amend -o compat=0.10 -o refcount_bits=16 image
    is_sound "and back"
}

flags_and_names() {
    begin "cluster_size=64k"
    qemu-img bitmap --add image one
    expect 0 "" amend -o lazy_refcounts=on image
    says "lazy refcounts: true"
    says "name: one"
    is_sound "lazy refcounts"
    expect 0 "" amend -o lazy_refcounts=off image
    says "lazy refcounts: false"
    says "name: one"
    qemu-img bitmap --remove image one
    cp content base.raw
    cp content other.raw
    rm -f snapshot.raw
    qemu-img create -q -f qcow2 -b base.raw -F raw image
    expect 0 "" amend -o backing_file=other.raw image
    says "backing file: other.raw"
    rm base.raw
    is_sound "another backing file"
    qemu-img convert -O qcow2 other.raw other.qcow2
    expect 0 "" amend -o backing_file=other.qcow2,backing_fmt=qcow2 image
    says "backing file format: qcow2"
    is_sound "a backing file of another format"
    expect 0 "" amend -o backing_file= image
    qemu-img info image | grep -q backing && problem "it still has a backing file"
    begin "data_file=external.data,data_file_raw=on"
    mv external.data moved.data
    expect 0 "" amend -o data_file=moved.data image
    says "data file: moved.data"
    is_sound "a data file that was moved"
    expect 0 "" amend -o data_file_raw=off image
    says "data file raw: false"
    is_sound "not raw any more"
    expect 1 "only possible when an image is made" amend -o data_file_raw=on image
}

sizes() {
    begin "cluster_size=64k"
    expect 0 "" amend -o size=9M image
    truncate -s 9M content
    is_sound "grown"
    expect 1 "only sluice resize --shrink makes it smaller" amend -o size=8M image
    expect 1 "no multiple of 512" amend -o size=9437185 image
    expect 0 "" amend -o size=9M image
    is_sound "as it was"
}

# At any step it is sound but for leaks, and the command can be repeated.
killed_at_steps() {
    local step what steps
    for what in compat=1.1,refcount_bits=64 compat=0.10; do
        steps=0
        if [ "$what" = compat=0.10 ]; then
            begin "cluster_size=4k"
        else
            begin "compat=0.10,cluster_size=4k"
        fi
        cp image first
        rm -f log
        SLUICE_TEST_STEP=log:$folder/log "$SLUICE" amend -o $what image
        is_sound "$what"
        while read -r step; do
            cp first image
            (SLUICE_TEST_STEP=kill:$step "$SLUICE" amend -o $what image >/dev/null 2>&1
                exit $?) 2>/dev/null
            [ $? -eq 137 ] || problem "not killed at '$step'"
            qemu-img check image </dev/null >check.out 2>&1
            case $? in 0 | 3) ;; *) problem "killed at '$step': $(head -5 check.out)" ;; esac
            expect 0 "" amend -o $what image
            "$SLUICE" check -r leaks image >/dev/null
            is_sound "$what, killed at '$step'"
            steps=$((steps + 1))
        done < <(sort -u log)
        [ $steps -ge 3 ] || problem "$what: only $steps steps"
    done
}

what_is_refused() {
    make image "cluster_size=64k" 5
    cp image before
    expect 1 "lazy_refcounts needs compat=1.1" amend -o compat=0.10,lazy_refcounts=on image
    expect 1 "compat=0.10 has refcount_bits=16" amend -o compat=0.10,refcount_bits=8 image
    expect 1 "not in a file of its own" amend -o data_file=other image
    expect 1 "needs backing_fmt" amend -o backing_file=other image
    expect 1 "has no backing file" amend -o backing_fmt=raw image
    cmp -s image before || problem "a refused command has changed the image"
    truncate -s 1M raw.img
    make image "extended_l2=on" 5
    expect 1 "compat=0.10 has no extended_l2" amend -o compat=0.10 image
    make image "compression_type=zstd" 5
    expect 1 "compat=0.10 has no compression_type" amend -o compat=0.10 image
    make image "data_file=external.data" 5
    expect 1 "compat=0.10 has no external data files" amend -o compat=0.10 image
    make image "cluster_size=64k" 5
    qemu-img bitmap --add image one
    expect 1 "compat=0.10 has no dirty bitmaps" amend -o compat=0.10 image
    make image "cluster_size=64k" 5
    qemu-img snapshot -c one image
    qemu-img resize -q image 8M
    expect 1 "snapshots with a size of their own" amend -o compat=0.10 image
    qemu-img create -q -f qcow2 -b raw.img -F raw image
    qemu-io -c "write -z 0 64k" image >/dev/null
    expect 1 "zero clusters" amend -o compat=0.10 image
    helper damage before refcount_low 1
    expect 1 "repair it first" amend -o lazy_refcounts=on before
}

virtual_size() {
    qemu-img info --output=json image | sed -n 's/.*"virtual-size": \([0-9]*\),.*/\1/p'
}

main
