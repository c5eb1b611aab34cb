#!/usr/bin/env bash
# `resize` of image files, with QEMU as the judge: what remains has the content that it had, what is
# new reads as zeroes, snapshots stay as they are, and nothing is leaked; killed at any step, the
# image has the old size or the new one.
# SLUICE_TEST_SEED=N: repeats the run with this seed.
# shellcheck source=tests/interop/lib_qcow2.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2.sh"

main() {
    run_cases images_of_all_kinds shared_tables overlays preallocated raw_files killed_at_steps \
        what_is_refused devices_and_files
}

# Shrunk, shrunk again, and grown: each time to any size.
images_of_all_kinds() {
    local options round size
    while read -r _ options; do
        case $options in *data_file*) continue ;; esac
        make image "$options" 30
        with_snapshot "$options"
        qemu-img convert -O raw image content </dev/null
        for round in 1 2 3; do
            size=$((512 + RANDOM % 4096 * 512 * round))
            "$SLUICE" resize -q --shrink image $size >error 2>&1 || problem "$(cat error)"
            truncate -s $size content
            is_sound "$options, $size bytes"
            [ "$round" -ne 2 ] || qemu-io -c "write -P 9 0 $size" image </dev/null >/dev/null
            [ "$round" -ne 2 ] || qemu-img convert -O raw image content </dev/null
        done
        size=$((size + RANDOM % 8192 * 512 + 512))
        expect 0 $size resize image $size
        truncate -s $size content
        is_sound "$options, grown to $size bytes"
    done < <(kinds)
}

# with_snapshot OPTIONS: where the image can have one, and version 3 records its size.
with_snapshot() {
    rm -f snapshot.raw
    case $1 in *refcount_bits=1,* | *compat=0.10*) return ;; esac
    qemu-img snapshot -c one image
    qemu-img convert -l one -O raw image snapshot.raw </dev/null
    scribble image 5
}

# The new end lies in a table that the snapshot has as well.
shared_tables() {
    local bits
    for bits in 2 16 64; do
        make image "cluster_size=512,refcount_bits=$bits" 60
        qemu-img snapshot -c one image
        qemu-img convert -l one -O raw image snapshot.raw </dev/null
        cp snapshot.raw content
        expect 0 1050112 resize --shrink image 1050112
        truncate -s 1050112 content
        is_sound "a shared table, refcounts of $bits bits"
        qemu-io -c "write -P 5 0 1050112" image </dev/null >/dev/null
        qemu-img convert -O raw image content </dev/null
        is_sound "written after that"
        qemu-img snapshot -d one image
        rm snapshot.raw
        is_sound "without the snapshot"
        [ "$(stat -c %s image)" -lt $((9 << 20)) ] || problem "the file is still as long"
    done
}

# What the backing file has behind the old end stays hidden.
overlays() {
    local compat
    qemu-img create -q -f raw base.raw 4M
    qemu-io -f raw -c "write -P 5 0 4M" base.raw >/dev/null
    for compat in 0.10 1.1; do
        qemu-img create -q -f qcow2 -o compat=$compat -b base.raw -F raw image 3000320
        qemu-io -c "write -P 6 1M 100k" image </dev/null >/dev/null
        qemu-img convert -O raw image content
        expect 0 6291456 resize image 6M
        truncate -s 6M content
        is_sound "compat=$compat, behind a longer backing file"
        expect 0 1148928 resize --shrink image 1122k
        truncate -s 1122k content
        is_sound "compat=$compat, shrunk"
        expect 0 4194304 resize image +3045376
        truncate -s 4M content
        is_sound "compat=$compat, grown again"
    done
}

preallocated() {
    local how options
    for how in metadata falloc full; do
        for options in cluster_size=64k cluster_size=1k extended_l2=on,cluster_size=16k; do
            make image "$options" 5
            qemu-img convert -O raw image content </dev/null
            expect 0 12582912 resize --preallocation=$how image 12M
            truncate -s 12M content
            is_sound "$how, $options"
            qemu-img map --output=json image >map.json
            python3 -c '
import json
new = [each for each in json.load(open("map.json"))
       if each["start"] + each["length"] > 7 << 20]
assert new and all("offset" in each for each in new), new' || problem "$how, $options: not mapped"
            [ $how = metadata ] || [ "$(stat -c %b image)" -ge $((6 << 11)) ] ||
                problem "$how, $options: takes no space"
        done
    done
}

raw_files() {
    truncate -s 1M raw.img
    expect 0 1049600 resize raw.img +1024
    expect 0 1000 resize --shrink -f raw raw.img 1000
    [ "$(stat -c %s raw.img)" = 1000 ] || problem "raw.img has the wrong size"
    expect 0 3000000 resize -f raw --preallocation=falloc raw.img 3000000
    [ "$(stat -c %b raw.img)" -ge 5800 ] || problem "raw.img is not allocated"
    expect 0 2999999 resize --shrink raw.img -- -1
    expect 0 2999999 resize -- raw.img +0
    [ "$(stat -c %s raw.img)" = 2999999 ] || problem "raw.img has the wrong size"
    # A raw disk may begin like an image.
    qemu-img create -q -f qcow2 raw.img 1M
    expect 0 2097152 resize -f raw raw.img 2M
    [ "$(stat -c %s raw.img)" = $((2 << 20)) ] || problem "as an image, not as a raw file"
}

# At any step the image is sound but for leaks, and shrinking it again ends the work.
killed_at_steps() {
    local step steps=0
    make first "cluster_size=512" 40
    qemu-img snapshot -c one first
    qemu-img convert -l one -O raw first snapshot.raw </dev/null
    qemu-img convert -O raw first whole </dev/null
    cp first image
    SLUICE_TEST_STEP=log:$folder/log "$SLUICE" resize -q --shrink image 1050112
    while read -r step; do
        cp first image
        (SLUICE_TEST_STEP=kill:$step "$SLUICE" resize -q --shrink image 1050112 >/dev/null 2>&1
            exit $?) 2>/dev/null
        [ $? -eq 137 ] || problem "not killed at '$step'"
        qemu-img check image </dev/null >check.out 2>&1
        case $? in 0 | 3) ;; *) problem "killed at '$step': $(head -5 check.out)" ;; esac
        head -c 1050112 whole >content
        [ "$(virtual_size)" = 1050112 ] ||
            expect 0 1050112 resize --shrink image 1050112
        "$SLUICE" check -r leaks image >/dev/null
        is_sound "killed at '$step'"
        steps=$((steps + 1))
    done < <(sort -u log)
    [ $steps -ge 4 ] || problem "only $steps steps"
}

what_is_refused() {
    make image "cluster_size=64k" 5
    cp image before
    expect 1 "no multiple of 512: give" resize image 7000001
    expect 1 "allow it with --shrink" resize image 1M
    expect 1 "there is no device" resize image
    expect 1 "no multiple" resize image +1
    expect 1 "File too large" resize image +8191P
    expect 1 "cannot be resized" resize image 7000P
    qemu-img create -q -f vmdk other.vmdk 1M
    expect 1 "only raw and qcow2" resize other.vmdk 2M
    expect 1 "" resize nowhere 2M
    cmp -s image before || problem "a refused command has changed the image"
    qemu-img bitmap --add image one
    cp image before
    expect 1 "dirty bitmaps" resize image 8M
    expect 1 "dirty bitmaps" resize --shrink image 2M
    cmp -s image before || problem "a refused command has changed the bitmaps"
    make old "compat=0.10" 5
    qemu-img snapshot -c one old
    expect 1 "version 2 with snapshots" resize old 8M
    expect 1 "version 2 with snapshots" resize --shrink old 2M
    make external "data_file=external.data" 5
    expect 1 "in another file" resize --shrink external 2M
    expect 1 "in another file" resize --preallocation full external 8M
    expect 0 8388608 resize external 8M
    qemu-img check -q external || problem "an external data file"
    make broken "cluster_size=64k" 5
    helper damage broken refcount_low 1
    expect 1 "repair it first" resize --shrink broken 2M
}

# A word may name a device, or a file; never both.
devices_and_files() {
    qemu-img create -q -f qcow2 image 1M
    truncate -s 1M 7
    expect 1 "is a device and a file: give -n 7 for the device, or ./7 for the file" resize 7 2M
    expect 0 2097152 resize ./7 2M
    expect 0 3145728 resize -f raw 7 3M
}

virtual_size() {
    qemu-img info --output=json image | sed -n 's/.*"virtual-size": \([0-9]*\),.*/\1/p'
}

main
