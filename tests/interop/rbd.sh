#!/usr/bin/env bash
# Target rbd on a real cluster of one monitor and one OSD: images are read and written, and compared
# with what `rbd` imports and exports; deaths of our server and of the OSD, a cluster that stops,
# two writers, sizes that change. T8.x are the traps of RBD.
# alone: 1
# shellcheck source=tests/interop/lib_qcow2_disk.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_qcow2_disk.sh"

CEPH="$SLUICE_SOURCE_DIR/tests/support/ceph.sh"
PORT=16889

main() {
    begin_qcow2
    CLUSTER=$(mktemp -d /tmp/sluice-ceph.XXXXXX)
    export CEPH_CONF=$CLUSTER/ceph.conf
    trap 'status=$?; "$CEPH" stop "$CLUSTER" || true; (exit $status) || leave; leave' EXIT
    "$CEPH" start "$CLUSTER" $PORT || exit
    run_case "both ways" both_ways
    run_case "file on FUSE" on_fuse
    run_case "file system" with_file_system
    run_case "snapshot" snapshot
    run_case "clone" clone
    run_case "holes" holes
    run_case "encrypted" encrypted
    run_case "upgrade" is_upgraded
    run_case "upgrade, with few rights" is_upgraded --privilege-drop=nobody
    run_case "the image grows" grows
    run_case "the image shrinks" shrinks
    run_case "two writers" two_writers
    run_case "shared" shared
    run_case "blocklisted" is_blocklisted
    run_case "users" users
    run_case "bad words" refuses
    run_case "server killed" is_killed
    run_case "OSD killed" osd_is_killed
    run_case "cluster stops for a while" stops_for_a_while
    run_case "cluster is dead" is_dead
    finish
}

# spec IMAGE[@SNAPSHOT] [OPTIONS]
spec() {
    echo "rbd(rbd/$1, conf=$CEPH_CONF${2:+, $2})"
}

# Makes an image with random content, the same as in `oracle`.
import() {
    head -c "${2:-16M}" /dev/urandom > oracle
    rbd import --no-progress oracle "rbd/$1"
}

# is_oracle IMAGE[@SNAPSHOT]
is_oracle() {
    rbd export --no-progress "rbd/$1" - | cmp oracle ||
        fail "rbd/$1 has other content than the oracle, seed $SEED"
}

# holds WORDS: the health of the target, as stat shows it, soon.
holds() {
    for _ in {1..200}; do
        "$SLUICE" stat -n "$ID" > stat.txt
        ! grep -q "$1" stat.txt || return 0
        sleep 0.05
    done
    fail "no '$1': $(cat stat.txt)"
}

# serve_disk IMAGE [OPTION...]: as the file `disk`.
serve_disk() {
    "$SLUICE" add "$(spec "$1")" --frontend fuse --at disk "${@:2}" > add.txt
    note_added
}

pid() {
    cat "$CLUSTER/$1.pid"
}

# T8.1, T8.15
both_ways() {
    import ways
    serve "$(spec ways)"
    qemu-img compare -q -f raw -F raw oracle "$URI" || fail "other content than what was imported"
    write_randomly
    end
    serve "$(spec ways)" --queues 2
    write_randomly
    end
    is_oracle ways
}

on_fuse() {
    rbd create --size 64M rbd/fuse
    serve_disk fuse --queues 2
    fio --name=v --filename=disk --rw=randrw --bsrange=4k-256k --size=64M --io_size=48M --direct=1 \
        --ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 --trim_percentage=5 \
        > fio.txt 2>&1 || fail "$(cat fio.txt)"
    cp disk oracle
    end
    is_oracle fuse
}

with_file_system() {
    rbd create --size 64M rbd/fs
    serve_disk fs
    mkfs.ext4 -q disk
    mkdir -p mnt
    mount -o loop disk mnt
    cp -r "$SLUICE_SOURCE_DIR/docs" mnt/
    unmount mnt
    end
    serve_disk fs
    mount -o loop,ro disk mnt
    diff -r "$SLUICE_SOURCE_DIR/docs" mnt/docs
    unmount mnt
    end
}

# T8.6: while there are writes; `rbd` flushes nothing for us, and what was answered is in it.
snapshot() {
    import snap
    serve "$(spec snap)"
    rbd snap create --no-progress rbd/snap@before
    cp oracle before
    write_randomly &
    local writer=$!
    rbd snap create --no-progress rbd/snap@during
    wait $writer
    write_randomly
    end
    is_oracle snap
    rbd export --no-progress rbd/snap@during during
    cp before oracle
    is_oracle snap@before
    serve "$(spec snap@before)"
    qemu-img compare -q -f raw -F raw before "$URI" || fail "other content than before"
    nbdinfo "$URI" | grep -q 'is_read_only: true' || fail "a snapshot may be written"
    end
    serve "$(spec snap@during)"
    qemu-img compare -q -f raw -F raw during "$URI" || fail "other content than rbd exports"
    end
}

clone() {
    import parent
    rbd snap create --no-progress rbd/parent@base
    rbd clone --rbd-default-clone-format 2 rbd/parent@base rbd/child
    serve "$(spec child)"
    qemu-img compare -q -f raw -F raw oracle "$URI" || fail "other content than the parent"
    write_randomly
    end
    is_oracle child
}

# In a namespace of the pool.
holes() {
    rbd namespace create rbd/space
    rbd create --size 64M rbd/space/holes
    serve "$(spec space/holes)"
    nbdsh -u "$URI" -c 'h.pwrite(b"x" * 4096, 20 << 20)' -c 'h.flush()'
    nbdinfo --map --totals "$URI" > map.txt
    grep -Eq '^ *4194304 .* data$' map.txt || fail "$(cat map.txt)"
    grep -Eq '^ *62914560 .* hole,zero$' map.txt || fail "$(cat map.txt)"
    end
}

# Ours on an image, and RBD's own, which is LUKS in the image but takes long to be made.
encrypted() {
    printf secret > key
    chmod 600 key
    truncate -s 32M volume
    cryptsetup luksFormat --batch-mode --type luks1 --pbkdf-force-iterations 1000 volume key
    rbd import --no-progress volume rbd/luks
    is_encrypted luks
    full || return 0
    rbd create --size 32M rbd/own
    rbd encryption format rbd/own luks1 key
    is_encrypted own
}

# is_encrypted IMAGE
is_encrypted() {
    serve "crypt($(spec "$1"), key_file=key)"
    nbdcopy "$URI" oracle
    write_randomly --no-trim
    end
    rm -f exported
    rbd export --no-progress "rbd/$1" exported
    qemu-img compare -q --object secret,id=s,file=key --image-opts driver=raw,file.filename=oracle \
        driver=luks,key-secret=s,file.filename=exported || fail "QEMU finds something else"
}

# The next server has neither the files nor the environment of this one.
is_upgraded() {
    import "up$#"
    cp "$CEPH_CONF" conf
    serve "rbd(rbd/up$#, conf=conf)" "$@"
    write_randomly
    rm conf
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    write_randomly
    end
    is_oracle "up$#"
}

# T8.9
grows() {
    import grow
    serve "$(spec grow)" --name grower
    rbd resize --no-progress --size 24M rbd/grow
    for _ in {1..100}; do
        [ "$(nbdinfo --size "$URI")" = $((16 << 20)) ] || break
        sleep 0.05
    done
    same size "$(nbdinfo --size "$URI")" $((24 << 20))
    "$SLUICE" events grower | grep -q 'backing_grown .* 25165824 ' || fail "there is no event"
    "$SLUICE" resize grower 32M > resize.txt
    same size "$(nbdinfo --size "$URI")" $((32 << 20))
    rbd info rbd/grow | grep -q 'size 32 MiB' || fail "$(rbd info rbd/grow)"
    truncate -s 32M oracle
    write_randomly
    end
    is_oracle grow
}

# T8.9
shrinks() {
    import shrink
    serve "$(spec shrink)" --name shrinker
    rbd resize --no-progress --size 8M --allow-shrink rbd/shrink
    holds 'has shrunk'
    "$SLUICE" events shrinker | grep -q 'has shrunk' || fail "there is no event"
    nbdsh -u "$URI" -c 'h.pread(4096, 0)'
    ! nbdsh -u "$URI" -c 'h.pread(4096, 12 << 20)' 2> err.txt || fail "it reads beyond the end"
    ! nbdsh -u "$URI" -c 'h.pwrite(bytes(4096), 12 << 20)' 2> err.txt || fail "it writes there"
    end
}

# T8.3, T8.4, T8.16
two_writers() {
    import two
    serve "$(spec two)"
    refused 'another client keeps its lock: 127.0.0.1' \
        "$SLUICE" add --frontend nbd --listen unix:other "$(spec two)"
    ! timeout 5 rbd bench --io-type write --io-size 4K --io-total 4K rbd/two > bench.txt 2>&1 ||
        fail "another client writes: $(cat bench.txt)"
    "$SLUICE" map "$(spec two)" > map.txt
    "$SLUICE" add --frontend nbd --listen unix:other "$(spec two read_only)" > other.txt
    qemu-img compare -q -f raw -F raw oracle "nbd+unix:///?socket=$CASE/other"
    "$SLUICE" del -n "$(sed -n 's/^dev id \([0-9]*\):.*/\1/p' other.txt)" > del.txt
    write_randomly
    end
    is_oracle two
}

# T8.4
shared() {
    import both
    rbd create --size 8M --image-feature layering rbd/bare
    serve "$(spec both exclusive=no)"
    write_randomly
    rbd bench --io-type write --io-size 4K --io-total 4K rbd/both > bench.txt
    end
    refused 'no feature exclusive-lock' "$SLUICE" add --listen unix:other "$(spec bare)"
    serve "$(spec bare exclusive=no)"
    end
    # T8.8
    serve "$(spec both exclusive=no)"
    rm oracle
    rbd export --no-progress rbd/both oracle
    write_randomly
    rbd feature disable rbd/both fast-diff object-map exclusive-lock
    write_randomly
    end
    is_oracle both
}

# T8.2
is_blocklisted() {
    local address
    import block
    serve "$(spec block)" --name outcast
    address=$(rbd lock ls --format json rbd/block | grep -o '127.0.0.1:[0-9/]*')
    ceph osd blocklist add "$address" > ceph.txt 2>&1
    ! timeout 20 nbdsh -u "$URI" -c 'h.pwrite(bytes(4096), 0)' -c 'h.flush()' 2> err.txt ||
        fail "it still writes"
    holds 'failed.*blocklisted'
    "$SLUICE" events outcast | grep -q 'blocklisted' || fail "there is no event"
    ! timeout 20 nbdsh -u "$URI" -c 'h.pwrite(bytes(4096), 0)' 2> err.txt || fail "it writes again"
    timeout 20 "$SLUICE" del outcast > del.txt
    is_oracle block
}

# The key is in no file of ours, and not in the environment of the server.
users() {
    local key
    import users
    ceph auth get-or-create client.guest mon 'profile rbd' osd 'profile rbd' > guest 2> ceph.txt
    serve "$(spec users "id=guest, keyring=guest")"
    rm guest
    write_randomly
    "$SLUICE" upgrade -n "$ID" > upgrade.txt
    note_server
    key=$(ceph auth get-key client.guest)
    ! grep -rqF "$key" state || fail "the key is in a file of the state"
    ! grep -qF "$key" "/proc/$SERVER/environ" "/proc/$SERVER/cmdline" || fail "the key is shown"
    end
    is_oracle users
    refused 'cannot connect' "$SLUICE" add --listen unix:s "$(spec users id=guest)"
    refused 'cannot connect' "$SLUICE" add --listen unix:s "$(spec users id=nobody)"
}

refuses() {
    local word
    for word in image /image rbd/ rbd//image rbd/a/b/c rbd/image@ rbd/image@a@b rbd@x/image; do
        refused 'write rbd:POOL/IMAGE' "$SLUICE" add --listen unix:s "rbd(\"$word\")"
    done
    refused 'timeout' "$SLUICE" add --listen unix:s "$(spec x timeout=0)"
    refused "behind 'client.'" "$SLUICE" add --listen unix:s "$(spec x id=client.admin)"
    refused 'has no pool' "$SLUICE" add --listen unix:s "rbd(none/image, conf=$CEPH_CONF)"
    refused 'no such image' "$SLUICE" add --listen unix:s "$(spec none)"
    rbd create --size 8M rbd/there
    refused 'no such image or snapshot' "$SLUICE" add --listen unix:s "$(spec there@none)"
    refused 'cannot read' "$SLUICE" add --listen unix:s "rbd(rbd/there, conf=none)"
    refused 'cannot read' "$SLUICE" add --listen unix:s "$(spec there keyring=none)"
    head -c 100 /dev/urandom > noise
    refused 'no configuration of Ceph' "$SLUICE" add --listen unix:s "rbd(rbd/there, conf=noise)"
    same "state files" "$(ls state)" ""
}

# The lock of a server that is dead is taken over as soon as the cluster gives its client up.
is_killed() {
    import killed
    serve "$(spec killed)"
    write_randomly
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    "$SLUICE" del -n "$ID" > del.txt
    serve "$(spec killed)"
    write_randomly
    end
    is_oracle killed
}

# It keeps what it has acknowledged, and requests wait for it.
osd_is_killed() {
    rbd create --size 64M rbd/osd
    serve_disk osd
    fio --name=v --filename=disk --rw=randwrite --bs=16k --size=64M --io_size=24M --direct=1 \
        --rate_iops=400 --ioengine=libaio --iodepth=8 --verify=crc32c --verify_fatal=1 \
        > fio.txt 2>&1 &
    local fio=$!
    sleep 1
    kill -KILL "$(pid osd.0)"
    sleep 0.5
    "$CEPH" osd "$CLUSTER"
    wait $fio || fail "$(cat fio.txt)"
    cp disk oracle
    end
    is_oracle osd
}

stops_for_a_while() {
    import while
    serve "$(spec while)"
    write_randomly &
    local writer=$!
    kill -STOP "$(pid osd.0)" "$(pid mon.a)"
    sleep 3
    kill -CONT "$(pid osd.0)" "$(pid mon.a)"
    wait $writer
    end
    is_oracle while
}

# T8.7, T8.17: nobody waits longer than was said, and the device ends.
is_dead() {
    local began
    import dead
    serve "$(spec dead timeout=2s)" --name mourner
    kill -STOP "$(pid osd.0)"
    began=$SECONDS
    ! nbdsh -u "$URI" -c 'h.pread(4096, 0)' 2> err.txt || fail "it reads from nowhere"
    [ $((SECONDS - began)) -le 6 ] || fail "a request took $((SECONDS - began)) s"
    holds 'degraded.*not answered within 2 s'
    kill -CONT "$(pid osd.0)"
    nbdsh -u "$URI" -c 'h.pread(4096, 0)'
    ! "$SLUICE" stat mourner | grep degraded || fail "it does not recover"
    kill -STOP "$(pid osd.0)" "$(pid mon.a)"
    nbdsh -u "$URI" -c 'h.pread(4096, 0)' 2> err.txt &
    began=$SECONDS
    timeout 40 "$SLUICE" del mourner --force > del.txt 2>&1 || fail "$(cat del.txt)"
    [ $((SECONDS - began)) -le 15 ] || fail "del took $((SECONDS - began)) s"
    wait_for_end "$SERVER"
    began=$SECONDS
    refused 'answers within' "$SLUICE" add --listen unix:s "$(spec dead timeout=2s)"
    [ $((SECONDS - began)) -le 20 ] || fail "add took $((SECONDS - began)) s"
    kill -CONT "$(pid osd.0)" "$(pid mon.a)"
}

main
