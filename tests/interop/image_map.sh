#!/usr/bin/env bash
# `map`, `compare` and `measure`, with qemu-img as the judge: the same parts at the same places, the
# same verdicts, the same figures.
# SLUICE_TEST_SEED=N: repeats the run with this seed.
# shellcheck source=tests/interop/lib_qcow2.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2.sh"

main() {
    run_cases maps_of_images maps_of_chains maps_of_preallocated maps_of_raw_files parts_of_maps \
        maps_of_others images_in_use comparisons strict_comparisons failed_comparisons measures
}

# The widths of refcounts make no difference here, nor do many sizes of clusters.
some_kinds() {
    if full; then kinds; else kinds | grep -E "^(plain|old|subclusters|external) "; fi
}

# --- Maps.

maps_of_images() {
    local name options
    while read -r name options; do
        make "$name" "$options" 12
        embellish "$name" "$options"
        same_map "$name" "$options"
        case $options in
            *data_file*) continue ;;
        esac
        compress "$name" packed "$options"
        same_map packed "compressed, $options"
        rm -f packed
    done < <(some_kinds)
    make image "cluster_size=64k" 4
    qemu-img snapshot -c one image
    scribble image 4
    "$SLUICE" map --json "qcow2(file=image, snapshot=one)" >ours
    qemu-img map --output=json -l one image >theirs 2>error || cp ours theirs # QEMU 7.2 has no -l
    same_parts "snapshot"
}

maps_of_chains() {
    local size
    qemu-img create -q -f raw base.raw 3M
    qemu-io -f raw -c "write -P 5 64k 1M" -c "write -P 5 2M 100k" base.raw >/dev/null
    for size in 2M 3M 6M; do
        qemu-img create -q -f qcow2 -b base.raw -F raw low.qcow2 $size
        qemu-io -c "write -P 6 1M 300k" -c "write -z 64k 100k" low.qcow2 >/dev/null
        qemu-img create -q -f qcow2 -o extended_l2=on -b low.qcow2 -F qcow2 middle.qcow2 6M
        scribble middle.qcow2 3
        qemu-img create -q -f qcow2 -o cluster_size=4k -b middle.qcow2 -F qcow2 top.qcow2 8M
        same_map top.qcow2 "nothing of its own, on $size"
        scribble top.qcow2 6
        same_map top.qcow2 "on $size"
    done
    qemu-img create -q -f qcow2 first.qcow2 6M
    qemu-img create -q -f qcow2 -b first.qcow2 -F qcow2 second.qcow2
    qemu-img create -q -f qcow2 -b second.qcow2 -F qcow2 third.qcow2
    same_map third.qcow2 "nothing in three images"
    qemu-img map third.qcow2 >theirs
    "$SLUICE" map third.qcow2 >ours
    cmp -s ours theirs || problem "no data: another text" "$(cat ours)"
}

maps_of_preallocated() {
    local options
    for options in preallocation=metadata preallocation=falloc preallocation=full \
        preallocation=metadata,extended_l2=on preallocation=metadata,cluster_size=4k \
        preallocation=metadata,data_file=outside,data_file_raw=on; do
        rm -f image outside
        qemu-img create -q -f qcow2 -o "$options" image 20M
        same_map image "$options"
        qemu-io -c "write -P 3 1M 100k" -c "write -P 3 7M 1M" -c "discard 7M 128k" image >/dev/null
        same_map image "$options, written"
    done
    # Zeroes that keep their clusters.
    make image "cluster_size=64k" 20
    qemu-io -c "write -z 0 1M" -c "write -z 2M 1M" image >/dev/null
    same_map image "zeroes"
    make image "extended_l2=on" 20
    qemu-io -c "write -z 0 1M" -c "write -z 2M 1M" image >/dev/null
    same_map image "zeroes in subclusters"
}

maps_of_raw_files() {
    truncate -s 7M raw
    qemu-io -f raw -c "write -P 1 0 64k" -c "write -P 1 3M 1M" -c "write -P 1 6M 4k" raw >/dev/null
    same_map raw "raw"
    truncate -s 0 raw
    truncate -s 7M raw
    same_map raw "one hole"
    # QEMU counts whole sectors.
    truncate -s 10001 odd
    printf x | dd of=odd bs=1 seek=5000 conv=notrunc status=none
    expect 0 '"start": 8192, "length": 1809,' map --json odd
    make image "cluster_size=64k" 3
    "$SLUICE" map -f raw --json image >ours
    qemu-img map -f raw --output=json image >theirs
    same_parts "the image's own file"
    expect 0 "image" map image
}

parts_of_maps() {
    local begin length
    make image "cluster_size=4k" 30
    for begin in 0 5000 1M 5M 6M; do
        for length in 1 100000 100M; do
            "$SLUICE" map --json -s $begin -l $length image >ours
            qemu-img map --output=json -s $begin -l $length image >theirs
            same_parts "from $begin, $length"
        done
    done
}

maps_of_others() {
    command -v qemu-nbd >/dev/null || return
    truncate -s 4M raw
    qemu-io -f raw -c "write -P 1 1M 1M" raw >/dev/null
    qemu-nbd -t -f raw -k "$folder/socket" --pid-file "$folder/nbd.pid" --fork raw
    uri="nbd+unix:///?socket=$folder/socket"
    "$SLUICE" map --json "$uri" >ours
    qemu-img map --output=json "$uri" >theirs
    same_parts "NBD"
    kill "$(<nbd.pid)"
    qemu-img create -q -f raw two 4M
    expect 0 '"present": true, "zero": true, "data": false' map --json "stripe(raw, two, chunk=64k)"
    expect 0 '"length": 1048576' map --json null:1M
}

images_in_use() {
    make used "cluster_size=64k" 3
    : >held.out
    coproc qemu-io used >held.out 2>&1
    local qemu=$!
    echo "read 0 512" >&"${COPROC[1]}"
    for _ in {1..200}; do
        grep -q "read 512/512" held.out && break
        sleep 0.05
    done
    expect 1 "attached for writing" map used
    expect 1 "attached for writing" measure used
    expect 2 "attached for writing" compare used used
    expect 0 '"start": 0' map -U --json used
    expect 0 "required size" measure -U used
    expect 0 "identical" compare -U used used
    kill "$qemu"
    wait "$qemu" 2>/dev/null
}

# same_map IMAGE WHAT
same_map() {
    timeout 20 "$SLUICE" map --json "$1" >ours 2>error || problem "map: $2" "$(cat error)"
    qemu-img map --output=json "$1" >theirs </dev/null || problem "qemu-img map: $2"
    same_parts "$2"
}

# The parts in `ours` and in `theirs`, whatever each of them has joined.
same_parts() {
    python3 - "$1" <<'PYTHON' >compared 2>&1 || problem "another map: $1" "$(cat compared)"
import json, sys

def joined(name):
    parts = []
    for part in json.load(open(name)):
        part.pop("compressed", None)    # not in QEMU 7.2
        if part["length"] == 0:         # QEMU's map of nothing
            continue
        last = parts[-1] if parts else None
        if last is not None:
            kinds = ["depth", "present", "zero", "data"]
            alike = all(part[kind] == last[kind] for kind in kinds)
            goes_on = part.get("offset") == (
                last["offset"] + last["length"] if "offset" in last else None)
            assert part["start"] == last["start"] + last["length"], (last, part)
            if alike and goes_on:
                last["length"] += part["length"]
                continue
        parts.append(part)
    return parts

ours, theirs = joined("ours"), joined("theirs")
for one, other in zip(ours, theirs):
    assert one == other, f"ours {one}\ntheirs {other}"
assert len(ours) == len(theirs), (len(ours), len(theirs))
PYTHON
}

# --- Comparisons.

comparisons() {
    local name options change
    while read -r name options; do
        make "$name" "$options" 12
        qemu-img convert -O raw "$name" raw
        same_verdict "$name" raw
        same_verdict raw "$name"
        for change in "write -P 77 3M 512" "write -P 0 0 1k" "write -z 0 2M"; do
            cp raw changed
            qemu-io -f raw -c "$change" changed >/dev/null
            same_verdict "$name" changed
            same_verdict changed "$name"
        done
    done < <(some_kinds)
    truncate -s 8M longer
    dd if=raw of=longer conv=notrunc status=none
    same_verdict raw longer
    same_verdict longer "$name"
    printf x | dd of=longer bs=1 seek=7000000 conv=notrunc status=none
    same_verdict raw longer
    same_verdict longer "$name"
    head -c 1000001 raw >odd
    head -c 1000000 raw >even
    printf x >>even
    expect 1 "Content mismatch at offset 999936!" compare odd even
    expect 0 "Images are identical." compare -f raw -F raw odd odd
    expect 0 '"identical": true' compare --json raw raw
    expect 1 '"offset": 999936' compare --json odd even
    expect 0 "(100.00/100%)" compare -p raw raw
}

strict_comparisons() {
    make image "cluster_size=64k" 10
    qemu-img convert -O raw image raw
    qemu-img convert -O qcow2 raw again
    qemu-img convert -c -O qcow2 raw packed
    qemu-img convert -S 0 -O raw raw whole
    qemu-img create -q -f qcow2 -b image -F qcow2 top
    qemu-img create -q -f qcow2 empty 6M
    truncate -s 6M hole
    truncate -s 7M longer
    local one other
    for one in image raw again packed whole top empty hole longer; do
        for other in image packed whole empty hole; do
            same_code -s $one $other
        done
    done
    expect 1 "Strict mode: Image size mismatch!" compare -s hole longer
    expect 1 "Strict mode: Offset 0 block status mismatch!" compare -s hole empty
}

failed_comparisons() {
    make image "cluster_size=64k" 5
    same_code image nowhere
    same_code nowhere image
    expect 4 "cannot read" compare 'fault(mem:1M, errors=1)' null:1M
}

# same_verdict A B: the same text and the same code.
same_verdict() {
    local code
    timeout 20 "$SLUICE" compare "$@" >ours 2>error </dev/null
    code=$?
    qemu-img compare "$@" >theirs 2>/dev/null </dev/null
    [ $code -eq $? ] || problem "another code than QEMU's, $code: compare $*" "$(cat error)"
    cmp -s ours theirs || problem "compare $*: '$(cat ours)', not '$(cat theirs)'" "$(cat error)"
}

same_code() {
    local code
    timeout 20 "$SLUICE" compare "$@" >ours 2>error </dev/null
    code=$?
    qemu-img compare "$@" >theirs 2>/dev/null </dev/null
    [ $code -eq $? ] || problem "code $code: compare $*" "$(cat ours theirs error)"
}

# --- Measures.

measures() {
    local name options size
    while read -r name options; do
        make "$name" "$options" 12
        embellish "$name" "$options"
        same_measure "$name"
        same_measure -O raw "$name"
        for options in cluster_size=512 cluster_size=2M compat=0.10 extended_l2=on \
            refcount_bits=1,cluster_size=4k preallocation=full preallocation=metadata; do
            same_measure -O qcow2 -o $options "$name"
        done
    done < <(some_kinds)
    for size in 0 1 1000 64k 1M 10G 5T; do
        same_measure -O raw --size $size
        for options in cluster_size=4k cluster_size=64k refcount_bits=64 extended_l2=on; do
            same_measure -O qcow2 -o $options --size $size
        done
    done
    truncate -s 10001 odd
    printf x | dd of=odd bs=1 seek=5000 conv=notrunc status=none
    same_measure odd
    same_measure -O qcow2 odd
    expect 0 "required size: 10240" measure odd
}

same_measure() {
    timeout 20 "$SLUICE" measure --json "$@" >ours 2>error </dev/null ||
        problem "measure $*: $(cat error)"
    qemu-img measure --output=json "$@" >theirs 2>error </dev/null || problem "$(cat error): $*"
    python3 -c '
import json
ours, theirs = (json.load(open(name)) for name in ("ours", "theirs"))
assert ours == theirs, f"ours {ours}, theirs {theirs}"' 2>compared ||
        problem "measure $*" "$(tail -1 compared)"
}

main
