#!/usr/bin/env bash
# `check` on qcow2 images, with QEMU as the judge: both programs find the same in sound and in
# damaged images, and a repaired image is one that QEMU finds nothing in, with the content that it
# had.
# SLUICE_TEST_SEED=N: repeats the run with this seed.
# shellcheck source=tests/interop/lib_qcow2.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2.sh"

main() {
    run_cases sound_images damaged_images repaired_images repairs_that_are_killed hostile_images
}

sound_images() {
    local name options
    while read -r name options; do
        make "$name" "$options"
        embellish "$name" "$options"
        agree "$name" counts
        helper info "$name"
        case $name in
            plain | small | zstd | bits64)
                compress "$name" "$name.c" "$options"
                agree "$name.c" counts
                qemu-img snapshot -c compressed "$name.c"
                qemu-io -c "write -P 3 1010k 50k" "$name.c" </dev/null >/dev/null
                agree "$name.c" counts
                helper info "$name.c"
                ;;
        esac
    done < <(kinds)
    qemu-img create -q -f qcow2 empty 0 </dev/null
    agree empty counts
    qemu-img create -q -f qcow2 huge 100T </dev/null
    qemu-io -c "write 70T 64k" huge </dev/null >/dev/null
    agree huge counts
}

# Sound images of several kinds, by name.
bases() {
    make plain "cluster_size=64k" 20
    make small "cluster_size=1k" 40
    make wide "refcount_bits=64,cluster_size=4k" 30
    make bit "refcount_bits=1,cluster_size=2k" 30
    make subclusters "extended_l2=on,cluster_size=16k" 20
    make snapshots "cluster_size=8k" 20
    embellish snapshots ""
    compress plain compressed
    qemu-img convert -O raw plain plain.raw </dev/null
}

# Both find that the image is damaged. The figures agree where QEMU counts each fault once.
damaged_images() {
    bases
    local base kind counts
    for base in plain small wide bit subclusters snapshots compressed; do
        for kind in refcount_low refcount_zero refcount_high leak copied_lost l1_copied_lost \
            data_beyond l2_beyond data_twice data_on_l1 data_on_l2 data_on_refcounts reserved_bit \
            l1_reserved_bit block_lost block_beyond block_on_data compressed_copied subclusters \
            refcounts_all_zero dirty; do
            fits "$base" "$kind" || continue
            cp --sparse=always "$base" broken
            counts=counts
            case $kind:$base in
                # Overlaps that change what QEMU reads, and references that one bit cannot count.
                data_on_*: | *:bit | data_on_l2:* | block_on_data:*) counts='' ;;
            esac
            helper judge broken "$kind" "$RANDOM" $counts || echo "# damaged: $base $kind"
        done
    done
}

# fits BASE KIND
fits() {
    case $2:$1 in
        compressed_copied:compressed | subclusters:subclusters) return 0 ;;
        compressed_copied:* | subclusters:*) return 1 ;;
        refcount_high:bit) return 1 ;;
    esac
    full || [ "$1" = plain ] || [ $((RANDOM % 4)) -eq 0 ]
}

# After `--repair all` QEMU finds nothing, and the content is what it was.
repaired_images() {
    bases
    local base kind
    for base in plain small wide bit subclusters snapshots compressed; do
        qemu-img convert -O raw "$base" content </dev/null
        for kind in refcount_low refcount_zero refcount_high leak copied_lost l1_copied_lost \
            block_lost block_beyond block_on_data refcounts_all_zero dirty compressed_copied; do
            fits "$base" "$kind" || continue
            cp --sparse=always "$base" broken
            helper damage broken "$kind" "$RANDOM"
            "$SLUICE" check --repair all broken >repair.out 2>&1 ||
                problem "not repaired: $base $kind" "$(cat repair.out)"
            is_sound broken content "$base $kind"
        done
    done
    only_leaks
}

# Lowers what is too high, and leaves what is too low.
only_leaks() {
    cp plain broken
    helper damage broken leak 1
    expect 3 "0 corruptions, 1 leaked cluster" check broken
    expect 0 "repaired: 0 corruptions, 1 leaked cluster" check -r leaks broken
    is_sound broken plain.raw "a leak"
    # A flag of the L2 table depends on the refcount.
    helper damage broken refcount_high 1
    expect 2 "1 corruption, 1 leaked cluster" check broken
    expect 0 "repaired: 1 corruption, 1 leaked cluster" check -r leaks broken
    is_sound broken plain.raw "a refcount that is too high"
    helper damage broken leak 1
    helper damage broken refcount_zero 1
    expect 2 "2 corruptions, 1 leaked cluster" check broken
    expect 2 "2 corruptions, 0 leaked clusters" check --repair leaks broken
    agree broken counts
}

# is_sound IMAGE CONTENT WHAT
is_sound() {
    qemu-img check -q "$1" </dev/null >check.out 2>&1 ||
        problem "after the repair of $3: $(head -5 check.out)"
    qemu-img compare -q -f qcow2 -F raw "$1" "$2" </dev/null ||
        problem "after the repair of $3 the content differs"
    "$SLUICE" check "$1" >check.out 2>&1 || problem "after the repair of $3: $(cat check.out)"
}

# A repair that is killed at any step can be repeated.
repairs_that_are_killed() {
    bases
    local base kind step steps
    for base in small snapshots; do
        qemu-img convert -O raw "$base" content </dev/null
        for kind in dirty refcounts_all_zero block_lost refcount_high; do
            case $base:$kind in
                small:dirty | small:block_lost | snapshots:refcount*) ;;
                *) full || continue ;;
            esac
            cp --sparse=always "$base" broken
            helper damage broken $kind "$RANDOM"
            cp --sparse=always broken first
            rm -f log
            SLUICE_TEST_STEP=log:$folder/log "$SLUICE" check -r all first >/dev/null
            steps=0
            while read -r step; do
                cp --sparse=always broken again
                killed_at "$step" "$SLUICE" check -r all again
                [ $? -eq 137 ] || problem "not killed at '$step'"
                qemu-img compare -q -f qcow2 -F raw again content </dev/null ||
                    problem "$base $kind: killed at '$step' it has lost data"
                "$SLUICE" check -r all again >repair.out 2>&1 ||
                    problem "$base $kind: killed at '$step', not repaired" "$(cat repair.out)"
                is_sound again content "$base $kind, killed at '$step'"
                steps=$((steps + 1))
            done < <(sort -u log)
            [ $steps -ge 3 ] || problem "$base $kind: only $steps steps"
        done
    done
}

killed_at() {
    (SLUICE_TEST_STEP=kill:$1 "${@:2}" >killed.out 2>&1; exit $?) 2>/dev/null
}

# A program with a sanitizer takes address space as it goes.
limit_memory() {
    grep -qaE '__(asan|tsan)_init' "$SLUICE" || ulimit -v 2000000
}

# What would take a program that believes the header for ever, or all memory.
hostile_images() {
    make twice "cluster_size=2M" 3
    # All L1 entries refer to one L2 table, all entries of the refcount table to one block.
    python3 - twice <<'PYTHON'
import struct, sys
file = open(sys.argv[1], "r+b")
head = file.read(112)
l1, table = struct.unpack_from(">QQ", head, 40)
file.seek(l1)
entry = file.read(8)
file.seek(36)
file.write(struct.pack(">I", (2 << 20) // 8))
file.seek(l1)
file.write(entry * ((2 << 20) // 8))
file.seek(table)
block = file.read(8)
file.seek(table)
file.write(block * ((2 << 20) // 8))
PYTHON
    (limit_memory; timeout 10 "$SLUICE" check twice >output 2>&1)
    [ $? -eq 2 ] || problem "many tables in one: $(tail -2 output)"
    # A sparse file of 8 EiB.
    make sparse "cluster_size=512" 10
    truncate -s 8E sparse 2>/dev/null || truncate -s 15T sparse
    (limit_memory; timeout 10 "$SLUICE" check sparse >output 2>&1) ||
        problem "sparse: $(tail -2 output)"
    helper damage sparse refcount_low 1
    (limit_memory; timeout 10 "$SLUICE" check -r all sparse >output 2>&1) ||
        problem "sparse, repaired: $(tail -2 output)"
    rm sparse
}

main
