#!/usr/bin/env bash
# Target qcow2 on images that are damaged, or on a disk that fails: what is damaged is refused, says
# so in the image, and destroys nothing more; a failure at any step of an allocation leaves an image
# that QEMU finds nothing in but leaks.
# shellcheck source=tests/interop/lib_qcow2_disk.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_disk.sh"

main() {
    begin_qcow2
    run_case "headers" absurd_headers
    run_case "tables in one place" tables_in_one_place
    run_case "data on metadata" data_on_metadata
    run_case "metadata without refcounts" metadata_without_refcounts
    run_case "refcounts of data" miscounted_data
    run_case "changes by damaged entries" changes_by_damaged_entries
    run_case "read-only" reads_damaged_images
    run_case "compressed clusters" compressed_clusters
    run_case "snapshot tables" snapshot_tables
    run_case "external data file" external_data
    run_case "subclusters" bad_subclusters
    run_case "failures" failing_disk
    run_case "dirty" dirty_images
    finish
}

# Clusters of a new image of QEMU with some data: header 0, refcount table 1, refcount block 2, L1
# table 3, L2 table 4, data from 5 on.
L1=196608 L2=262144 BLOCK=131072 TABLE=65536

fresh() {
    qemu-img create -q -f qcow2 "$@" image.qcow2 16M
    qemu-io -f qcow2 -c 'write -P 1 0 256k' image.qcow2 > qemu-io.txt
}

# poke OFFSET HEX
poke() {
    # shellcheck disable=SC2001
    printf '%b' "$(sed 's/../\\x&/g' <<< "$2")" |
        dd of=image.qcow2 bs=1 seek="$1" conv=notrunc status=none
}

# not_opened TEXT [SPEC]: it is refused, and the image is as it was.
not_opened() {
    sha256sum image.qcow2 > before
    refused "$1" "$SLUICE" add --frontend nbd --listen unix:sock "${2:-qcow2:image.qcow2}"
    sha256sum --quiet -c before || fail "the image has changed: $1"
}

# fails COMMAND...: each request fails with EIO, then the image is marked, and nothing has been
# written but that mark, and the rest of the header is as it was.
fails() {
    local command
    cp image.qcow2 before.qcow2
    serve "${SPEC:-qcow2:image.qcow2}"
    for command in "$@"; do
        refused 'Input/output error' qemu-io -f raw -c "$command" "$URI"
    done
    refused 'Input/output error' qemu-io -f raw -c 'write 15M 4k' "$URI"
    end
    qemu-img info image.qcow2 | grep -q 'corrupt: true' || fail "it is not marked: $*"
    (cmp -l before.qcow2 image.qcow2 2> /dev/null || true) | awk '$1 < 73 || $1 > 96' > differences
    [ ! -s differences ] || fail "$*: it has changed: $(head -3 differences)"
}

absurd_headers() {
    local offset hex text
    while read -r offset hex text; do
        fresh
        poke "$offset" "$hex"
        not_opened "$text"
        refused . "$SLUICE" info image.qcow2
        refused . "$SLUICE" check image.qcow2
    done << 'END'
8 7fffffffffffff00000003ff backing
24 ffffffffffffff00 l1_size
36 00400001 l1_size
40 0000000000030200 L1
40 ffffffffffff0000 L1
48 0000000000010200 refcount
48 7fffffffffff0000 refcount
56 00000000 refcount
60 ffffffff snapshots
60 000000010000000000000200 snapshot
60 0000000100ffffffffff0000 snapshot
96 00000007 refcount
100 00000020 header_length
100 0000fff9 header_length
112 12345678fffffff0 extension
END
}

tables_in_one_place() {
    local place
    for place in 000000000000 000000010000 000000020000 000000030000; do
        fresh
        poke $L1 "8000$place"
        not_opened 'is corrupt'
        fresh
        poke $TABLE "0000${place%0000}0200"
        not_opened 'refcount table'
    done
    fresh
    poke $TABLE 0000000000030000
    not_opened 'two of its tables'
    fresh
    poke $TABLE 0000000000040000
    not_opened 'two of its tables'
    fresh
    poke $L1 8000000000040200
    not_opened 'L1 table'
    fresh
    poke $L1 80000000ffff0000
    not_opened 'L1 table'
}

# An entry that leads to metadata of each kind: no request of the guest writes there.
data_on_metadata() {
    local place
    for place in 10000 20000 30000 40000; do
        fresh
        poke $L2 "80000000000$place"
        fails 'write 0 4k' 'write 0 128k'
        fresh
        poke $L2 "80000000000$place"
        fails 'discard 0 64k'
    done
    # The table of snapshots, and the L1 table of one.
    for place in snapshots_offset l1; do
        fresh
        qemu-img snapshot -c one image.qcow2
        qemu-io -f qcow2 -c 'write -P 2 0 256k' image.qcow2 > qemu-io.txt
        damage_of_snapshot $place
        fails 'write 0 4k'
    done
}

# damage_of_snapshot PLACE: the first entry of the disk leads there.
damage_of_snapshot() {
    python3 - "$1" << 'PYTHON'
import struct, sys
with open("image.qcow2", "r+b") as image:
    def number(place):
        image.seek(place)
        return struct.unpack(">Q", image.read(8))[0]
    place = table = number(64)
    if sys.argv[1] == "l1":
        place = number(table)
    l2 = number(number(40)) & ~(1 << 63)
    image.seek(l2)
    image.write(struct.pack(">Q", place | 1 << 63))
PYTHON
}

# Refcounts that offer a cluster with metadata as free, one after the other.
metadata_without_refcounts() {
    local cluster
    for cluster in 0 1 2 3 4; do
        fresh
        poke $((BLOCK + 2 * cluster)) 0000
        fails 'write 8M 4k'
    done
}

# T4.17: the flag COPIED says that the refcount is one.
miscounted_data() {
    local refcount
    for refcount in 0000 0002; do
        fresh
        poke $((BLOCK + 12)) $refcount
        fails 'write 64k 4k' 'write 0 256k'
        fresh
        poke $((BLOCK + 12)) $refcount
        fails 'write -z 64k 64k'
        fresh
        poke $((BLOCK + 12)) $refcount
        fails 'discard 0 256k'
        "$SLUICE" check --repair all image.qcow2 > check.txt || fail "$(cat check.txt)"
        in_turn_after_repair
    done
}

in_turn_after_repair() {
    qemu-img convert -f qcow2 -O raw image.qcow2 oracle
    in_turn image.qcow2
}

# Not aligned, beyond the end of the file, with reserved bits.
changes_by_damaged_entries() {
    local entry
    for entry in 8000000000050200 8000000fff000000 8000000000050010 4000000fff000000; do
        fresh
        poke $L2 $entry
        fails 'read 0 4k' 'write 0 4k' 'discard 0 64k'
        fresh
        poke $L2 $entry
        fails 'discard 0 64k' 'write -z 0 64k'
    done
    # The second damage of an image is an error, too.
    fresh
    poke $L2 80000000000502008000000fff000000
    fails 'read 0 4k' 'read 64k 4k'
}

# Nothing is marked in an image that is only read, and what is not damaged can be read.
reads_damaged_images() {
    fresh
    poke $L2 8000000000050200
    sha256sum image.qcow2 > before
    serve 'qcow2(image.qcow2, read_only)'
    refused 'Input/output error' qemu-io -f raw -r -c 'read 0 4k' "$URI"
    qemu-io -f raw -r -c 'read -P 1 64k 64k' "$URI" > qemu-io.txt
    end
    sha256sum --quiet -c before || fail 'an image that is only read has changed'
    fresh
    poke 72 0000000000000002
    not_opened 'marked as corrupt'
    serve 'qcow2(image.qcow2, read_only)'
    qemu-io -f raw -r -c 'read -P 1 0 256k' "$URI" > qemu-io.txt
    end
}

# change_compressed CLUSTER SECTORS BEYOND: changes the entry of a compressed cluster.
change_compressed() {
    python3 - "$@" << 'PYTHON'
import struct, sys
cluster, sectors, beyond = map(int, sys.argv[1:])
with open("image.qcow2", "r+b") as image:
    def number(place):
        image.seek(place)
        return struct.unpack(">Q", image.read(8))[0]
    place = (number(number(40)) & ~(1 << 63)) + 8 * cluster
    entry = number(place)
    assert entry >> 62 == 1, hex(entry)
    entry += sectors << 54
    if beyond:
        entry += 1 << 40
    image.seek(place)
    image.write(struct.pack(">Q", entry))
PYTHON
}

compressed_clusters() {
    local sectors
    seq 1 300000 > oracle
    truncate -s 4M oracle
    # More sectors than the stream has, at the end of the file also such that it has not.
    for sectors in 1 20; do
        qemu-img convert -c -f raw -O qcow2 oracle image.qcow2
        change_compressed 3 $sectors 0
        change_compressed 29 $sectors 0
        serve 'qcow2(image.qcow2, read_only)'
        qemu-img compare -q -f raw -F raw oracle "$URI" || fail "$sectors more sectors"
        end
    done
    # Fewer than it needs.
    qemu-img convert -c -f raw -O qcow2 oracle image.qcow2
    change_compressed 3 -20 0
    serve qcow2:image.qcow2
    refused 'Input/output error' qemu-io -f raw -c 'read 192k 4k' "$URI"
    refused 'Input/output error' qemu-io -f raw -c 'write 192k 4k' "$URI"
    end
    qemu-img convert -c -f raw -O qcow2 oracle image.qcow2
    change_compressed 3 0 1
    fails 'read 192k 4k' 'write 192k 4k'
}

# Entries of a snapshot table without, and with a lot of extra data.
snapshot_tables() {
    local extra
    for extra in 0 8 1024 1025 1000000; do
        fresh
        qemu-img snapshot -c one image.qcow2
        python3 - $extra << 'PYTHON'
import struct, sys
extra = int(sys.argv[1])
with open("image.qcow2", "r+b") as image:
    image.seek(64)
    table, = struct.unpack(">Q", image.read(8))
    image.seek(table)
    entry = image.read(200)
    old, = struct.unpack_from(">I", entry, 36)
    texts = sum(struct.unpack_from(">HH", entry, 12))
    names = entry[40 + old:40 + old + texts]
    data = entry[40:40 + old][:extra].ljust(extra, b"\0")
    image.seek(table)
    image.write(entry[:36] + struct.pack(">I", extra) + data + names)
PYTHON
        if [ $extra -gt 1024 ]; then
            not_opened 'extra data'
            continue
        fi
        serve qcow2:image.qcow2
        qemu-io -f raw -c 'write -P 2 0 128k' "$URI" > qemu-io.txt
        end
        serve 'qcow2(image.qcow2, snapshot=one)'
        qemu-io -f raw -r -c 'read -P 1 0 256k' "$URI" > qemu-io.txt
        end
    done
}

external_data() {
    local SPEC
    fresh -o data_file=data.raw
    mv data.raw other.raw
    not_opened 'No such file'
    serve 'qcow2(image.qcow2, data_file=other.raw)'
    qemu-io -f raw -c 'read -P 1 0 256k' "$URI" > qemu-io.txt
    end
    mv other.raw data.raw
    ln image.qcow2 link.qcow2
    not_opened . 'qcow2(image.qcow2, data_file=link.qcow2)'
    rm link.qcow2
    # An entry that leads to another offset than its own, and one of a compressed cluster.
    poke $L2 8000000000020000
    fails 'read 0 4k' 'write 0 4k'
    fresh -o data_file=data.raw
    poke $L2 4000000000050000
    fails 'read 0 4k' 'write 0 4k'
}

# Both allocated and zero; allocated nowhere; of a compressed cluster; the bit for zeroes of others.
bad_subclusters() {
    local entry
    for entry in 80000000000500000000000100000001 00000000000000000000000000000001 \
        400000000005000000000000ffffffff 8000000000050001ffffffff00000000; do
        fresh -o extended_l2=on
        poke $L2 $entry
        fails 'read 0 4k' 'write 0 4k' 'discard 0 64k'
    done
}

# The n-th write, or the n-th request of any kind, of the disk below fails.
failing_disk() {
    local n ops errno
    for errno in EIO ENOSPC; do
        for ops in write 'write+write_zeroes+flush'; do
            for n in 0 1 2 3 5 8 13; do
                [ "$ops" = write ] || [ $n -lt 8 ] || continue
                fresh
                qemu-img snapshot -c one image.qcow2
                truncate -s %64k image.qcow2 # in whole blocks
                serve "qcow2(fault(image.qcow2, errors=1, ops=$ops, after=$n, count=1,
                    errno=$errno))"
                qemu-io -f raw -c 'write -P 2 64k 100k' -c flush -c 'write -P 3 8M 64k' \
                    -c 'discard 0 64k' -c flush "$URI" > qemu-io.txt 2>&1 || true
                "$SLUICE" del -n "$ID" > /dev/null 2>&1 || fail 'del'
                qemu-img check image.qcow2 > check.txt 2>&1 || [ $? = 3 ] ||
                    fail "$errno, $ops, $n: $(cat check.txt)"
                qemu-io -f qcow2 -r -c 'read 0 16M' image.qcow2 > qemu-io.txt
            done
        done
    done
}

dirty_images() {
    # Of QEMU, which has died: only read, it stays as it is.
    qemu-img create -q -f qcow2 -o lazy_refcounts=on image.qcow2 16M
    (qemu-io -f qcow2 -c 'write -P 5 1M 3M' -c flush -c abort image.qcow2 || true) \
        > qemu-io.txt 2>&1
    sha256sum image.qcow2 > before
    serve 'qcow2(image.qcow2, read_only)'
    qemu-io -f raw -r -c 'read -P 5 1M 3M' "$URI" > qemu-io.txt
    end
    sha256sum --quiet -c before || fail 'an image that is only read was repaired'
    serve qcow2:image.qcow2
    qemu-img info -U image.qcow2 | grep -q 'cleanly shut down: no' && fail 'it is still dirty'
    end
    qemu-img check -q image.qcow2
    # What cannot be repaired is not served.
    (qemu-io -f qcow2 -c 'write -P 6 8M 64k' -c flush -c abort image.qcow2 || true) \
        > qemu-io.txt 2>&1
    poke $L2 8000000fff000000
    refused 'cannot be repaired' "$SLUICE" add --frontend nbd --listen unix:sock qcow2:image.qcow2
    # Ours is never dirty, also while it is used.
    qemu-img create -q -f qcow2 -o lazy_refcounts=on image.qcow2 16M
    serve qcow2:image.qcow2
    qemu-io -f raw -c 'write -P 5 1M 3M' -c flush "$URI" > qemu-io.txt
    kill -KILL "$SERVER"
    "$SLUICE" del -n "$ID" > /dev/null 2>&1 || true
    await_release image.qcow2
    grep -q 'cleanly shut down: no' info.txt && fail 'it is dirty'
    qemu-img check image.qcow2 > check.txt 2>&1 || [ $? = 3 ] || fail "check: $(cat check.txt)"
}

main "$@"
