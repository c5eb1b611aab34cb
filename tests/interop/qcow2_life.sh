#!/usr/bin/env bash
# Target qcow2: images that grow, servers that die or hand over, locks, and images that are damaged
# or name files that they must not.
# shellcheck source=tests/interop/lib_qcow2_disk.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_disk.sh"

main() {
    begin_qcow2
    run_case "grows" grows 1300k 20M cluster_size=512
    run_case "grows, larger L1 table" grows 16M 2G cluster_size=4k
    run_case "grows, version 2" grows 16500k 40M compat=0.10
    run_case "grows, extended L2" grows 16500k 40M extended_l2=on
    run_case "grows, external data file" grows 16500k 40M data_file=data.raw,data_file_raw=on
    run_case "grows over a backing file" grows_over compat=1.1
    run_case "grows over a backing file, version 2" grows_over compat=0.10
    run_case "grows within a cluster of its backing file" grows_over compat=1.1 8404480
    run_case "grows too far" grows_too_far
    run_case "lazy refcounts" repairs_dirty
    run_case "killed" is_killed
    run_case "upgrade" is_upgraded
    run_case "fuse" as_fuse_file
    run_case "locks" excludes_qemu
    run_case "bad images" refuses_bad_images
    run_case "bad names" refuses_bad_names
    finish
}

# grows FROM TO OPTIONS
grows() {
    qemu-img create -q -f qcow2 -o "$3" image.qcow2 "$1"
    truncate -s "$1" oracle
    serve qcow2:image.qcow2
    write_randomly
    "$SLUICE" resize -n "$ID" "$2" > resize.txt
    truncate -s "$2" oracle
    write_randomly
    end
    check_image image.qcow2
    serve qcow2:image.qcow2
    write_randomly
    end
    check_image image.qcow2
}

# T4.6. grows_over OPTIONS [SIZE]: what the backing file has behind the old end never appears.
grows_over() {
    head -c 16M /dev/urandom > base.raw
    qemu-img create -q -f qcow2 -o "$1" -b base.raw -F raw image.qcow2 5100k
    head -c 5100k base.raw > oracle
    serve qcow2:image.qcow2
    "$SLUICE" resize -n "$ID" "${2:-24M}" > resize.txt
    truncate -s "${2:-24M}" oracle
    qemu-img compare -q -f raw -F raw oracle "$URI"
    write_randomly
    end
    check_image image.qcow2
}

# An L1 table that would be longer than the clusters between two refcount blocks.
grows_too_far() {
    qemu-img create -q -f qcow2 -o cluster_size=512 image.qcow2 100M
    serve qcow2:image.qcow2
    "$SLUICE" resize -n "$ID" 400M > resize.txt
    refused 'File too large' timeout 10 "$SLUICE" resize -n "$ID" 600M
    end
    qemu-img check -q image.qcow2
}

# An image that QEMU has not closed has lost no data, but its refcounts are wrong.
repairs_dirty() {
    qemu-img create -q -f qcow2 -o lazy_refcounts=on image.qcow2 16M
    (qemu-io -f qcow2 -c 'write -P 5 1M 3M' -c flush -c abort image.qcow2 || true) \
        > qemu-io.txt 2>&1
    qemu-img check -q image.qcow2 > check.txt 2>&1 && fail 'its refcounts are right'
    truncate -s 16M oracle
    qemu-io -f raw -c 'write -P 5 1M 3M' oracle > qemu-io.txt
    in_turn image.qcow2
}

# A server that is killed loses nothing that was flushed, and leaves no image that is wrong.
is_killed() {
    local round
    qemu-img create -q -f qcow2 image.qcow2 16M
    truncate -s 16M oracle
    for round in {1..4}; do
        serve qcow2:image.qcow2
        write_randomly
        kill_server
        qemu-img compare -q -f raw -F qcow2 oracle image.qcow2 > compare.txt ||
            fail "what was flushed is lost: $(cat compare.txt) seed $SEED"
        serve qcow2:image.qcow2
        /usr/bin/python3 "$WRITER" "$URI" oracle "$((SEED + round))" 100000 > writer.txt 2>&1 &
        sleep 0.3
        kill_server
        wait "$!" 2> /dev/null || true
        qemu-img convert -f qcow2 -O raw image.qcow2 oracle
    done
}

# kill_server: its image is right then, but for leaks, which are mended.
kill_server() {
    kill -KILL "$SERVER"
    "$SLUICE" del -n "$ID" > /dev/null 2>&1 || true
    await_release image.qcow2
    qemu-img check image.qcow2 > check.txt 2>&1 || [ $? = 3 ] || fail "check: $(cat check.txt)"
    qemu-img check -q -r leaks image.qcow2 > check.txt 2>&1
    qemu-img check -q image.qcow2 > check.txt || fail "check: $(cat check.txt)"
}

is_upgraded() {
    qemu-img create -q -f qcow2 image.qcow2 16M
    truncate -s 16M oracle
    serve qcow2:image.qcow2
    write_randomly
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    write_randomly
    end
    check_image image.qcow2
}

as_fuse_file() {
    qemu-img create -q -f qcow2 image.qcow2 64M
    : > disk
    "$SLUICE" add --frontend fuse --at disk qcow2:image.qcow2 > add.txt
    note_added
    mkfs.ext4 -q disk
    e2fsck -fn disk > fsck.txt 2>&1 || fail "fsck: $(cat fsck.txt)"
    cp disk oracle
    end
    check_image image.qcow2
}

# T4.26.
excludes_qemu() {
    qemu-img create -q -f qcow2 image.qcow2 16M
    serve qcow2:image.qcow2
    refused 'lock' qemu-io -f qcow2 -c 'write 0 64k' image.qcow2
    refused 'lock' qemu-img check image.qcow2
    qemu-img info -U image.qcow2 > info.txt
    refused 'attached for writing' "$SLUICE" add --frontend nbd --listen unix:other \
        qcow2:image.qcow2
    end
    qemu-io -f qcow2 -c 'write 0 64k' image.qcow2 > qemu-io.txt
    # Readers do not exclude one another.
    serve 'qcow2(image.qcow2, read_only)'
    qemu-io -f qcow2 -r -c 'read 0 64k' image.qcow2 > qemu-io.txt
    refused 'lock' qemu-io -f qcow2 -c 'write 0 64k' image.qcow2
    end
}

# poke FILE OFFSET HEX
poke() {
    # shellcheck disable=SC2001
    printf '%b' "$(sed 's/../\\x&/g' <<< "$3")" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# not_opened REGEX SPEC: it is refused, and the image is as it was.
not_opened() {
    sha256sum image.qcow2 > before
    refused "$1" "$SLUICE" add --frontend nbd --listen unix:sock "$2"
    sha256sum --quiet -c before || fail "the image has changed: $1"
}

# T4.17, T4.19: what header and tables show is refused before there is a device.
refuses_bad_images() {
    local fresh='qemu-img create -q -f qcow2 image.qcow2 16M'
    $fresh
    poke image.qcow2 4 00000005
    not_opened version qcow2:image.qcow2
    $fresh
    poke image.qcow2 20 00000008
    not_opened cluster qcow2:image.qcow2
    $fresh
    poke image.qcow2 36 7fffffff
    not_opened l1_size qcow2:image.qcow2
    $fresh
    poke image.qcow2 56 7fffffff
    not_opened refcount qcow2:image.qcow2
    $fresh
    poke image.qcow2 72 0000000000000100
    not_opened feature qcow2:image.qcow2
    $fresh
    poke image.qcow2 72 0000000000000002
    not_opened corrupt qcow2:image.qcow2
    $fresh
    poke image.qcow2 196608 8000000100000000
    not_opened L1 qcow2:image.qcow2
    $fresh
    poke image.qcow2 32 00000001
    not_opened encrypted qcow2:image.qcow2
    $fresh
    poke image.qcow2 32 00000002
    not_opened 'LUKS header' qcow2:image.qcow2
    truncate -s 16M image.qcow2
    not_opened 'qcow2' qcow2:image.qcow2
    # T4.16: an entry that leads to the header is noticed at use, and the image marked.
    $fresh
    qemu-io -f qcow2 -c 'write 0 64k' image.qcow2 > qemu-io.txt
    poke image.qcow2 262144 8000000000000200
    serve qcow2:image.qcow2
    refused 'Input/output error' qemu-io -f raw -c 'read 0 4k' "$URI"
    refused 'Input/output error' qemu-io -f raw -c 'write 8M 4k' "$URI"
    end
    is_marked_corrupt
    # One that leads to the L1 table, and refcounts that offer metadata as free.
    $fresh
    qemu-io -f qcow2 -c 'write 0 64k' image.qcow2 > qemu-io.txt
    poke image.qcow2 262144 8000000000030000
    serve qcow2:image.qcow2
    refused 'Input/output error' qemu-io -f raw -c 'write 0 4k' "$URI"
    end
    is_marked_corrupt
    $fresh
    qemu-io -f qcow2 -c 'write 0 64k' image.qcow2 > qemu-io.txt
    poke image.qcow2 131072 00000000000000000000
    serve qcow2:image.qcow2
    refused 'Input/output error' qemu-io -f raw -c 'write 8M 4k' "$URI"
    end
    is_marked_corrupt
}

is_marked_corrupt() {
    qemu-img info image.qcow2 | grep -q 'corrupt: true' || fail 'it is not marked as corrupt'
}

# T4.20, T4.22: which files an image may make us open.
refuses_bad_names() {
    mkdir elsewhere
    truncate -s 16M elsewhere/base.raw base.raw
    qemu-img create -q -f qcow2 -b elsewhere/base.raw -F raw image.qcow2
    not_opened 'another directory' qcow2:image.qcow2
    serve 'qcow2(image.qcow2, backing=any)'
    end
    ln -s elsewhere/base.raw link.raw
    qemu-img rebase -q -u -b link.raw -F raw image.qcow2
    not_opened 'another directory' qcow2:image.qcow2
    qemu-img rebase -q -u -b nbd://localhost/x -F raw image.qcow2
    not_opened 'only local files' qcow2:image.qcow2
    qemu-img rebase -q -u -b 'json:{"driver":"null-co"}' -F raw image.qcow2
    not_opened 'only local files' qcow2:image.qcow2
    qemu-img rebase -q -u -b base.raw -F raw image.qcow2
    not_opened 'backing=none' 'qcow2(image.qcow2, backing=none)'
    qemu-img rebase -q -u -b image.qcow2 -F qcow2 image.qcow2
    not_opened 'loop' qcow2:image.qcow2
    qemu-img rebase -q -u -b missing.raw -F raw image.qcow2
    not_opened 'No such file' qcow2:image.qcow2
    qemu-img create -q -f qcow2 -o compat=0.10 image.qcow2 16M
    python3 - << 'PYTHON'
import struct
with open("image.qcow2", "r+b") as image:
    image.seek(8)
    image.write(struct.pack(">QI", 1024, 8))
    image.seek(1024)
    image.write(b"base.raw")
PYTHON
    not_opened 'no recorded format' qcow2:image.qcow2
    serve 'qcow2(image.qcow2, backing_format=raw)'
    end
}

main "$@"
