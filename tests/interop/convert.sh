#!/usr/bin/env bash
# `convert`, with QEMU as the judge: whatever the formats, options and places of source and target,
# the copy is sound and equal; a copy that fails says so, and can be continued.
# SLUICE_TEST_SEED=N: repeats the run with this seed.
# shellcheck source=tests/interop/lib_qcow2.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2.sh"

main() {
    run_cases every_kind compressed packed_again on_a_backing_file snapshots odd_sizes \
        existing_targets over_nbd sparse_as_wished no_space bad_source bad_target \
        interrupted refused
}

convert() {
    timeout 60 "$SLUICE" convert "$@" </dev/null >convert.out 2>&1 ||
        problem "convert $*" "$(cat convert.out)"
}

# same FROM FORMAT TO FORMAT [OPTION...]: equal, and a qcow2 copy is without errors or leaks.
same() {
    qemu-img compare "${@:5}" -q -f "$2" -F "$4" "$1" "$3" </dev/null >compare.out 2>&1 ||
        problem "$1 and $3 differ: $(cat compare.out)"
    [ "$4" = raw ] && return
    qemu-img check -q "$3" </dev/null >check.out 2>&1 || problem "$3: $(head -5 check.out)"
    "$SLUICE" check "$3" >check.out 2>&1 || problem "$3: $(cat check.out)"
}

# text FILE MIB: half of it random, half not.
text() {
    python3 - "$1" "$2" "$RANDOM" <<'PYTHON'
import random, sys
numbers = random.Random(int(sys.argv[3]))
with open(sys.argv[1], "wb") as file:
    for _ in range(int(sys.argv[2]) * 16):
        size = numbers.choice((0, 0, 1000, 30000, 50000, 65536))
        file.write((numbers.randbytes(size) + b"%d" % size * 99).ljust(65536, b"\0")[:65536])
PYTHON
}

every_kind() {
    local name options
    make source cluster_size=64k 60
    qemu-img convert -O raw source source.raw </dev/null
    while read -r name options; do
        convert -O qcow2 -o "$options" source.raw "to.$name"
        same source.raw raw "to.$name" qcow2
        make "$name" "${options//external/other}" 20
        embellish "$name" "$options"
        convert -m 3 "$name" "$name.raw"
        same "$name" qcow2 "$name.raw" raw
        convert -f qcow2 -O qcow2 "$name" "$name.qcow2"
        same "$name" qcow2 "$name.qcow2" qcow2
        rm -f "$name"* "to.$name" ./*.data
    done < <(kinds)
    for options in preallocation=metadata preallocation=full,cluster_size=4k; do
        convert -O qcow2 -o "$options" source "to.$options"
        same source qcow2 "to.$options" qcow2
    done
    convert -T none -t none -O qcow2 source.raw uncached
    same source.raw raw uncached qcow2
}

compressed() {
    local type bits ours theirs slack
    text source 6
    for type in zlib zstd; do
        for bits in 512 4k 64k 2M; do
            full || [ "$type-$bits" != zstd-512 ] || continue
            convert -c -O qcow2 -o "compression_type=$type,cluster_size=$bits" source ours
            same source raw ours qcow2
            convert ours ours.raw
            cmp -s source ours.raw || problem "$type $bits: read back, it differs"
            qemu-img convert -c -O qcow2 -o "compression_type=$type,cluster_size=$bits" \
                source theirs </dev/null
            ours=$(stat -c %s ours) theirs=$(stat -c %s theirs)
            # QEMU's file ends within a cluster.
            slack=131072
            [ $bits = 2M ] && slack=$((2 << 20))
            [ "$ours" -le $((theirs + theirs / 20 + slack)) ] ||
                problem "$type $bits: $ours bytes, and QEMU's has $theirs"
            "$SLUICE" check ours | grep -q ' 0.00% compressed' &&
                problem "$type $bits: nothing compressed"
            rm -f ours* theirs
        done
    done
    # References that a host cluster cannot count.
    for bits in 1 2 4; do
        convert -c -O qcow2 -o "refcount_bits=$bits" source "ours$bits"
        same source raw "ours$bits" qcow2
    done
    convert -c -O qcow2 -o compat=0.10 source old
    same source raw old qcow2
    convert -c -O qcow2 -o extended_l2=on source subclusters
    same source raw subclusters qcow2
}

# Streams that are replaced while others are packed behind them.
packed_again() {
    local i
    text one 4
    text two 4
    convert -c -O qcow2 -o cluster_size=4k one image
    for i in two one two; do
        convert -n -c -O qcow2 $i image
        same $i raw image qcow2
    done
    convert -n -O qcow2 one image
    same one raw image qcow2
    "$SLUICE" check image | grep -q ' 0.00% compressed' || problem "compressed clusters are left"
}

on_a_backing_file() {
    make base cluster_size=64k 30
    qemu-img create -q -f qcow2 -b base -F qcow2 top </dev/null
    scribble top 10
    convert -O qcow2 top whole
    same top qcow2 whole qcow2
    qemu-img info whole | grep -q 'backing file' && problem "the copy has a backing file"
    convert -B base -F qcow2 -O qcow2 top thin
    same top qcow2 thin qcow2
    qemu-img convert -B base -F qcow2 -O qcow2 top theirs </dev/null
    [ "$(stat -c %b thin)" -le $(($(stat -c %b theirs) * 11 / 10 + 256)) ] ||
        problem "a thin copy takes $(stat -c %b thin) blocks, QEMU's $(stat -c %b theirs)"
    # A source that has no backing file itself hides that of the copy.
    make other cluster_size=4k 5
    convert -c -B base -F qcow2 -O qcow2 other hides
    same other qcow2 hides qcow2
    convert -n -B base -F qcow2 -O qcow2 top thin
    same top qcow2 thin qcow2
    mkdir sub
    convert -B "$folder/base" -F qcow2 -O qcow2 top sub/thin
    same top qcow2 sub/thin qcow2
    rm -r sub
    expect 1 "no image with the backing file" convert -n -B other -F qcow2 -O qcow2 top thin
}

snapshots() {
    make image cluster_size=64k 20
    qemu-img snapshot -c first image
    qemu-img convert -O raw image first.raw </dev/null
    scribble image 10
    convert -l first -O qcow2 image first
    same first.raw raw first qcow2
    convert -l 1 image first.again
    cmp -s first.raw first.again || problem "the snapshot differs"
    expect 1 "no snapshot" convert -l second image none
    [ -e none ] && problem "a target is left"
    expect 1 "goes with a qcow2 image" convert -l first first.raw none
}

odd_sizes() {
    local size
    for size in 1 511 1000 65537 3000001; do
        head -c "$size" /dev/urandom >"odd$size"
        convert "odd$size" copy
        cmp "odd$size" copy || problem "$size bytes differ"
        convert -O qcow2 "odd$size" copy.qcow2
        [ "$(qemu-img info --output=json copy.qcow2 | grep -oP '"virtual-size": \K\d+')" = \
            $(((size + 511) / 512 * 512)) ] || problem "the size of the copy of $size bytes"
        same "odd$size" raw copy.qcow2 qcow2
        convert -c -O qcow2 -o cluster_size=4k "odd$size" copy.c
        same "odd$size" raw copy.c qcow2
        rm copy copy.qcow2 copy.c
    done
}

# What the target had is gone, also where the source has zeroes; what is behind the source stays.
existing_targets() {
    make source cluster_size=64k 20
    qemu-img convert -O raw source source.raw </dev/null
    head -c 8M /dev/urandom >target
    cp target before
    convert -n source target
    cmp -n $((6 << 20)) source.raw target || problem "the target differs"
    cmp -i $((6 << 20)) before target || problem "what is behind it differs"
    make image cluster_size=4k 30
    convert -n -O qcow2 source image
    same source qcow2 image qcow2
    convert -n source 'qcow2(image)'
    same source qcow2 image qcow2
    truncate -s 6M empty
    convert -n --target-is-zero source empty
    cmp source.raw empty || problem "the empty target differs"
    truncate -s 5M small
    expect 1 "make the target that large" convert -n source small
    expect 1 "exists" convert source image
    expect 1 "same file" convert --force source ./source
    convert --force source image
    cmp source.raw image || problem "a replaced file differs"
}

over_nbd() {
    make source cluster_size=64k 40
    qemu-img convert -O raw source source.raw </dev/null
    qemu-nbd -t -e 8 -r -k "$folder/theirs" -f qcow2 source &
    local server=$!
    truncate -s 6M served
    "$SLUICE" add --listen "unix:$folder/ours" served >/dev/null || problem "no server"
    for ((i = 0; i < 100; ++i)); do [ -S theirs ] && break; sleep 0.05; done
    convert -O qcow2 "nbd+unix:///?socket=$folder/theirs" copy
    same source.raw raw copy qcow2
    convert -n source "nbd+unix:///?socket=$folder/ours"
    convert "nbd+unix:///?socket=$folder/ours" back
    cmp source.raw back || problem "over our own server, it differs"
    convert -n "nbd+unix:///?socket=$folder/theirs" "nbd+unix:///?socket=$folder/ours"
    cmp source.raw served || problem "from server to server, it differs"
    "$SLUICE" del -a >/dev/null
    kill $server
    wait $server 2>/dev/null
    rm -r state
}

sparse_as_wished() {
    head -c 64k /dev/urandom >source
    truncate -s 16M source
    head -c 1M /dev/zero >>source
    convert source sparse
    cmp source sparse || problem "sparse: it differs"
    [ "$(stat -c %b sparse)" -le 256 ] || problem "sparse: $(stat -c %b sparse) blocks"
    convert -S 0 source full
    cmp source full || problem "full: it differs"
    [ "$(stat -c %b full)" -ge 34816 ] || problem "full: $(stat -c %b full) blocks"
}

# A file system that is full. What is there is good, and the copy goes on when there is space.
no_space() {
    mkdir small
    if ! mount -t tmpfs -o size=5M tmpfs small 2>/dev/null; then
        rmdir small
        echo "# no space: needs root"
        return
    fi
    head -c 8M /dev/urandom >source
    expect 1 "No space left" convert source small/copy
    local start
    start=$(grep -oP -- '--start \K\d+' error)
    if [ "${start:-0}" -lt 1 ]; then  # the pieces under way may fail in any order
        problem "nothing to go on from: $(cat error)"
    else
        mount -o remount,size=20M small
        convert -n --start "$start" source small/copy
        cmp source small/copy || problem "continued from $start, it differs"
    fi
    mount -o remount,size=9M small
    expect 1 "No space left" convert -O qcow2 source small/copy.qcow2
    expect 1 "No space left" convert -c -O qcow2 source small/copy.c
    [ ! -e small/copy.c ] || qemu-img check -q -r leaks small/copy.c </dev/null ||
        problem "the image is damaged"
    umount small
    rmdir small
}

bad_source() {
    text source 4
    qemu-img convert -c -f raw -O qcow2 source broken </dev/null
    # The streams at the end become noise.
    python3 - broken <<'PYTHON'
import os, random, sys
with open(sys.argv[1], "r+b") as file:
    file.seek(os.stat(sys.argv[1]).st_size // 2)
    file.write(random.Random(1).randbytes(os.stat(sys.argv[1]).st_size // 3))
PYTHON
    timeout 20 "$SLUICE" convert -f qcow2 broken copy >output 2>&1 &&
        problem "a damaged image was copied"
    grep -q "cannot read 'broken' at offset" output || problem "damaged: $(cat output)"
    rm -f copy
    # An export that fails in the middle, for some time.
    command -v nbdkit >/dev/null || return
    head -c 8M /dev/urandom >data
    nbdkit -U "$folder/sock" --filter=error file data error-pread-rate=100% \
        error-file="$folder/fails" --run "
        touch fails
        '$SLUICE' convert \"nbd+unix:///?socket=$folder/sock\" copy >output 2>&1 && exit 9
        rm fails
        '$SLUICE' convert \"nbd+unix:///?socket=$folder/sock\" copy >>output 2>&1 || exit 8
        cmp data copy" </dev/null || problem "an export with errors: $? $(cat output)"
    # A target that fails at the last flush, or where it is written.
    truncate -s 8M target
    expect 1 "cannot write" convert -n data 'fault(target, errors=1, ops=write, offset=4M)'
    expect 1 "cannot flush" convert -n data 'fault(target, errors=1, ops=flush)'
}

# Wherever the target begins to fail: exit code 0 means a copy without errors or leaks.
bad_target() {
    local i good=0
    text data 1
    qemu-img create -q -f qcow2 -o cluster_size=4k empty 1M </dev/null
    truncate -s 4M empty
    for ((i = 0; i < 40; ++i)); do
        cp empty image
        timeout 20 "$SLUICE" convert -n -O qcow2 data \
            "fault(image, errors=1, ops=write+flush+write_zeroes, after=$i)" </dev/null \
            >output 2>&1 || continue
        good=$((good + 1))
        same data raw image qcow2
    done
    case $good in
        0 | 40) problem "$good of 40 copies were good" ;;
    esac
}

interrupted() {
    truncate -s 1G source
    head -c 4M /dev/urandom | dd of=source conv=notrunc status=none
    local signal code start
    for signal in INT TERM; do
        head -c 100M /dev/zero | tr '\0' x >data
        "$SLUICE" convert 'fault(data, delay=100ms, ops=read)' copy >output 2>&1 &
        local process=$!
        sleep 0.7
        kill -$signal $process
        wait $process
        code=$?
        [ $code -eq 1 ] || problem "SIG$signal: exit code $code"
        grep -q "interrupted" output || problem "SIG$signal: $(cat output)"
        start=$(grep -oP -- '--start \K\d+' output) || problem "SIG$signal: $(cat output)"
        convert -n --start "$start" data copy
        cmp data copy || problem "after SIG$signal at $start, it differs"
        rm copy
    done
}

refused() {
    make source cluster_size=64k 3
    expect 2 "needs a SOURCE and a DESTINATION" convert source
    expect 2 "-c goes with -O qcow2" convert -c source target
    expect 2 "-B FILE and -F FORMAT" convert -O qcow2 -B source source target
    expect 2 "takes 'raw' or 'qcow2'" convert -O vmdk source target
    expect 2 "a power of two" convert -S 3000 source target
    expect 2 "leave out -o" convert -n -O qcow2 -o cluster_size=4k source target
    expect 2 "goes with -n only" convert --target-is-zero source target
    expect 2 "goes with -n only" convert --start 1M source target
    expect 2 "in advance" convert -c -O qcow2 -o preallocation=full source target
    expect 2 "leave -W out" convert -W source target
    expect 2 "bitmaps are not copied" convert --bitmaps source target
    expect 2 "never replaced" convert --salvage source target
    expect 2 "from 1 to 16" convert -m 17 source target
    expect 1 "does not exist" convert missing target
    [ -e target ] && problem "a target is left"
    truncate -s 6M exists
    expect 1 "multiple of" convert -n --start 1000 source exists
    convert -p source shown
    tr '\r' '\n' <convert.out | grep -q '(100.00/100%)' || problem "progress: $(cat convert.out)"
    rm shown
    convert -p -q source shown
    [ -s convert.out ] && problem "quiet: $(cat convert.out)"
}

main
