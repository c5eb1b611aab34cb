#!/usr/bin/env bash
# The front end nbd under the kernel's own client (nbd-client), and over vsock. T1.x and T2.x are
# the traps of NBD servers and of NBD clients.
# seconds: 70
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_export.sh"

main() {
    local connections
    need_kernel_client
    run_case "a file system with a git repository" with_clients file_system
    for connections in 1 2 4; do
        [ $connections != 1 ] || full || continue
        run_case "verified load, $connections connections" with_clients load $connections
    done
    run_case "zeroes and discards" with_clients zeroes
    run_case "read-only" with_clients read_only
    run_case "server killed" with_clients killed
    run_case "server stopped" with_clients stopped
    run_case "deleted by force under load" with_clients deleted
    run_case "connected and disconnected many times" with_clients many_times
    run_case "TLS" with_clients under_tls
    run_case "vsock" with_clients over_vsock
    finish
}

file_system() {
    truncate -s 400M disk
    make_repository
    serve disk -q 2
    connect -N '' -connections 2
    same "write cache" "$(setting queue/write_cache)" "write back"
    same "durable writes" "$(setting queue/fua)" 1
    mkfs.ext4 -qF "$DEV"
    mkdir mnt
    mount "$DEV" mnt
    git clone -q "$CASE/repository" mnt/clone
    cp -r "$SLUICE_SOURCE_DIR/tests" mnt/tests
    sync -f mnt
    umount mnt
    e2fsck -fn "$DEV" > check.log 2>&1 || fail "$(cat check.log)"
    refuses 'is in use \(2 clients\)' "$SLUICE" del -n "$ID"
    disconnect
    unserve
    # What the client wrote is in the file, for whoever has it next.
    DEV=$(losetup -f --show disk)
    mount -o ro "$DEV" mnt
    diff -r "$SLUICE_SOURCE_DIR/tests" mnt/tests
    git -c safe.directory='*' -C mnt/clone fsck --strict 2> fsck.log || fail "$(cat fsck.log)"
    diff -r repository/src mnt/clone/src
    umount mnt
    losetup -d "$DEV"
}

make_repository() {
    local git="git -c user.name=test -c user.email=test@example.org -C repository"
    mkdir repository
    $git init -q -b main
    cp -r "$SLUICE_SOURCE_DIR/src" repository
    $git add src
    $git commit -qm sources
}

# T1.13, T1.15: the kernel sends FUA, and a flush on any of its connections.
load() {
    truncate -s 64M disk
    serve disk -q 2
    connect -N '' -connections "$1"
    verified --fsync=50
    verified --rw=write --sync=dsync --bsrange=16k-16k --size=4M
    disconnect
    unserve
}

# As of a file, in all ways that the kernel has.
zeroes() {
    local range
    truncate -s 64M disk
    head -c 8M /dev/urandom > plain
    serve disk
    connect -N ''
    [ "$(setting queue/write_zeroes_max_bytes)" != 0 ] || skip "this kernel's client only writes"
    dd if=plain of="$DEV" bs=1M oflag=direct conv=fsync status=none
    for range in "512 512" "65024 1024" "102400 307200" "8387584 1024"; do
        zero_range "fallocate -p -n" "${range% *}" "${range#* }"
    done
    zero_range "fallocate -z -n" 2M 66560
    zero_range blkdiscard 6M 128k
    zero_range "blkdiscard -z" 7M 128k
    blockdev --flushbufs "$DEV"
    cmp -n 8388608 "$DEV" plain
    disconnect
    unserve
    cmp -n 8388608 disk plain
}

zero_range() {
    $1 -o "$2" -l "$3" "$DEV"
    fallocate -p -n -o "$2" -l "$3" plain
}

read_only() {
    truncate -s 8M disk
    serve disk --read_only --export x
    connect -N x
    same read-only "$(setting ro)" 1
    fails 'Read-only|not permitted' dd if=/dev/zero of="$DEV" bs=4k count=1 oflag=direct
    cmp "$DEV" disk
    disconnect
    unserve
}

# T2.17. The client gets errors, what it had sent after its own timeout (30 s if none is given), and
# nothing waits for the server.
killed() {
    local status=0
    truncate -s 64M disk
    serve disk
    connect -N '' -connections 2 -timeout 8
    dd if=/dev/urandom of="$DEV" bs=1M count=8 oflag=direct conv=fsync status=none
    busy &
    sleep 1
    kill_export
    wait $! || status=$?
    [ $status = 1 ] || fail "the load ended with $status"
    fails 'Input/output error' timeout 20 dd if="$DEV" of=read bs=4k count=1 iflag=direct
    disconnect
    [ -e sock ] || fail "the socket has gone"
    sluice del -n "$ID"
    [ ! -e sock ] || fail "the socket was left behind"
    same "state files" "$(names state)" ""
    cp disk before
    serve disk
    connect -N ''
    cmp "$DEV" before
    disconnect
    unserve
}

# busy: a load that ends with status 1 when it gets an error.
busy() {
    timeout 200 fio --name=busy --filename="$DEV" --ioengine=libaio --direct=1 --rw=randrw \
        --bsrange=512-64k --iodepth=16 --size=32M --time_based --runtime=300 > fio.log 2>&1 ||
        exit $?
}

# The kernel gives the connection up after its own timeout; the server goes on with the next one.
stopped() {
    truncate -s 64M disk
    serve disk
    connect -N '' -timeout 2
    kill -STOP "$SERVER"
    fails 'Input/output error' timeout 60 dd if="$DEV" of=read bs=4k count=1 iflag=direct
    kill -CONT "$SERVER"
    disconnect
    connect -N ''
    cmp "$DEV" disk
    disconnect
    unserve
}

deleted() {
    local status=0
    truncate -s 64M disk
    serve disk -q 2
    connect -N '' -connections 2
    busy &
    sleep 1
    sluice del -n "$ID" --force
    wait $! || status=$?
    [ $status = 1 ] || fail "the load ended with $status"
    disconnect
    same "state files" "$(names state)" ""
}

many_times() {
    truncate -s 8M disk
    serve disk
    for _ in $(up_to 5 50); do
        connect -N '' -connections 3
        dd if=/dev/urandom of="$DEV" bs=64k count=4 oflag=direct status=none
        disconnect
    done
    unserve
}

# nbd-client encrypts in a process of its own, between the kernel and the server.
under_tls() {
    truncate -s 64M disk
    make_certificates
    serve disk --listen tcp:127.0.0.1:0 --tls-certificates "$CASE/pki" --tls-verify-peer
    local port=${URI##*:}
    connect localhost "${port%%/*}" -N '' -enable-tls -certfile pki/client-cert.pem \
        -keyfile pki/client-key.pem -cacertfile pki/ca-cert.pem -tlshostname localhost
    verified --size=8M
    disconnect
    unserve
}

make_certificates() {
    local name
    mkdir pki
    (
        cd pki
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca-cert.pem \
            -subj /CN=authority -days 2
        for name in server client; do
            openssl req -newkey rsa:2048 -nodes -keyout $name-key.pem -out $name.csr \
                -subj "/CN=$name"
            openssl x509 -req -in $name.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial \
                -days 2 -out $name-cert.pem -extfile <(echo subjectAltName=DNS:localhost)
        done
        chmod 600 ./*-key.pem
    ) 2> openssl.log || fail "$(cat openssl.log)"
}

# Both ends are ours: the device is a ublk device on the export.
over_vsock() {
    local number
    [ -e /dev/vsock ] || modprobe vsock_loopback || true
    [ -e /dev/vsock ] || skip "this kernel has no vsock"
    truncate -s 64M disk
    serve disk --listen vsock:10809 --export disk
    refuses 'Connection reset' "$SLUICE" add nbd+vsock://1:10808/disk
    number=$ID
    add nbd+vsock://1:10809/disk
    verified
    head -c 8M /dev/urandom > data
    dd if=data of="$DEV" bs=1M oflag=direct conv=fsync status=none
    del
    cmp -n 8388608 disk data
    ID=$number
    unserve
}

main
