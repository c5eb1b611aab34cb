#!/usr/bin/env bash
# `bitmap` on qcow2 images, with qemu-img as the judge: the same steps by both, and in turn.
# SLUICE_TEST_SEED=N: repeats the run with this seed.
# shellcheck source=tests/interop/lib_qcow2_bitmap.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_bitmap.sh"

DIRTY=qemu:dirty-bitmap

main() {
    begin_bitmaps
    run_case "the command" by_command 64k cluster_size=64k
    run_case "the command, clusters of 4 KiB" by_command 4k cluster_size=4k,extended_l2=off
    run_case "the command, clusters of 2 MiB" by_command 1M cluster_size=2M
    run_case "the command, extended L2" by_command 64k extended_l2=on
    run_case "the command, external data file" by_command 64k data_file=data.raw
    run_case "the command over a backing file" over_a_backing_file
    run_case "merges" merges
    run_case "bad commands" refuses_bad_commands
    finish
}

# by_command GRANULARITY OPTIONS: the same steps by us and by QEMU, on two images, and on a third
# one in turn.
by_command() {
    local image step wanted by=us
    for image in ours theirs mixed; do
        qemu-img create -q -f qcow2 -o "${2/data.raw/$image.raw}" $image 6M
        qemu-io -f qcow2 -c 'write -P 3 1M 1M' $image > /dev/null
    done
    while read -r step; do
        # shellcheck disable=SC2086  # words
        "$SLUICE" bitmap ${step/FILE/ours} || fail "$step"
        # shellcheck disable=SC2086
        qemu-img bitmap ${step/FILE/theirs} || fail "QEMU: $step"
        if [ $by = us ]; then
            # shellcheck disable=SC2086
            "$SLUICE" bitmap ${step/FILE/mixed} || fail "after QEMU: $step"
            by=them
        else
            # shellcheck disable=SC2086
            qemu-img bitmap ${step/FILE/mixed} || fail "QEMU after us: $step"
            by=us
        fi
        wanted=$(listed theirs)
        for image in ours mixed; do
            same "$image: $step" "$(listed $image)" "$wanted"
            qemu-img check -q $image > check.txt 2>&1 || fail "$image, $step: $(cat check.txt)"
        done
    done < <(steps "$1")
    check_bitmaps ours
    check_bitmaps mixed
    qemu-io -f qcow2 -c 'read -P 3 1M 1M' ours > io.txt
    grep -q 'verification failed' io.txt && fail "data has changed"
    true
}

steps() {
    echo "--add FILE b0"
    echo "--add -g $1 FILE a-second-one-with-a-long-name"
    echo "--disable FILE b0"
    echo "--add --disable -g 512 FILE c"
    echo "--enable FILE b0"
    echo "--remove FILE a-second-one-with-a-long-name"
    echo "--clear FILE b0"
    echo "--merge b0 FILE c"
    echo "--remove FILE c"
    echo "--remove --add -g 32k FILE b0"
    echo "--remove FILE b0"
    echo "--add FILE again"
}

# The header's extension goes where the name was, and the name moves.
over_a_backing_file() {
    qemu-img create -q -f raw base.raw 4M
    qemu-io -f raw -c 'write -P 4 0 4M' base.raw > /dev/null
    qemu-img create -q -f qcow2 -b base.raw -F raw image 4M
    rm base.raw # it is not needed for this
    "$SLUICE" bitmap --add image b0
    "$SLUICE" bitmap --add image b1
    "$SLUICE" bitmap --remove image b0
    qemu-img create -q -f raw base.raw 4M
    qemu-io -f raw -c 'write -P 4 0 4M' base.raw > /dev/null
    same bitmaps "$(listed image)" "[('b1', 65536, ['auto'])]"
    same name "$(qemu-img info image | grep '^backing file:')" 'backing file: base.raw'
    qemu-io -f qcow2 -c 'read -P 4 0 4M' image > io.txt
    grep -q 'verification failed' io.txt && fail "the backing file is not read"
    check_bitmaps image
}

# Bits of QEMU's bitmaps are merged as QEMU merges them, from this image and from another one.
merges() {
    local image
    for image in ours theirs other; do
        qemu-img create -q -f qcow2 $image 64M
        qemu-img bitmap --add -g 4k $image fine
        qemu-img bitmap --add -g 1M $image coarse
        qemu-io -f qcow2 -c 'write 5M 300k' -c 'write 33M 4k' $image > /dev/null
        qemu-img bitmap --disable $image fine
        qemu-img bitmap --disable $image coarse
        qemu-img bitmap --add --disable -g 64k $image sum
    done
    qemu-io -f qcow2 -c 'write 44M 4k' other > /dev/null
    qemu-img bitmap --add -g 64k other late
    qemu-io -f qcow2 -c 'write 55M 4k' other > /dev/null
    "$SLUICE" bitmap --merge fine ours sum
    qemu-img bitmap --merge fine theirs sum
    same_bits sum
    "$SLUICE" bitmap --merge late -b other -F qcow2 ours sum
    qemu-img bitmap --merge late -b other -F qcow2 theirs sum
    same_bits sum
    "$SLUICE" bitmap --clear --merge coarse --merge fine ours sum
    qemu-img bitmap --clear --merge coarse --merge fine theirs sum
    same_bits sum
    check_bitmaps ours
    check_bitmaps other
}

# same_bits BITMAP: in `ours` and `theirs`, says QEMU.
same_bits() {
    same "bits of $1" "$(map_of ours "$1")" "$(map_of theirs "$1")"
}

map_of() {
    qemu-nbd -r -f qcow2 -B "$2" -t -k "$CASE/map" "$1" > nbd.log 2>&1 &
    appears map
    nbdinfo --map="$DIRTY:$2" "nbd+unix:///?socket=$CASE/map"
    kill $!
    wait $! 2> /dev/null || true
    rm -f map
}

refuses_bad_commands() {
    qemu-img create -q -f qcow2 image 8M
    qemu-img create -q -f qcow2 -o compat=0.10 old 8M
    qemu-img create -q -f qcow2 -o cluster_size=512 tiny 8M
    qemu-img create -q -f raw raw 8M
    "$SLUICE" bitmap --add image b0
    cp image before
    refused "has no bitmap 'none'" "$SLUICE" bitmap --merge none image b0
    refused 'power of two' "$SLUICE" bitmap --add -g 256 image b1
    refused '1 to 1023' "$SLUICE" bitmap --add image "$(printf 'n%.0s' {1..1024})"
    refused 'version 2' "$SLUICE" bitmap --add old b0
    "$SLUICE" bitmap --add tiny b0 # its header is only just long enough
    refused 'magic' "$SLUICE" bitmap --add raw b0
    same names "$(listed image)" "[('b0', 65536, ['auto'])]"
    check_bitmaps image
    check_bitmaps tiny
    cmp raw <(head -c 8M /dev/zero) || fail 'the raw file has changed'
    serve qcow2:image
    refused 'attached for writing' "$SLUICE" bitmap --clear image b0
    end
}

main
