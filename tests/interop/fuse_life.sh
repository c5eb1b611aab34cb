#!/usr/bin/env bash
# The file that FUSE serves ends by del, by SIGTERM, by umount or by SIGKILL, always with I/O in
# flight, and no program hangs. And a user without privilege makes one through fusermount3.
# shellcheck source=tests/interop/lib_fuse.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_fuse.sh"

main() {
    local path
    begin
    for path in $PATHS; do
        run_case "killed, $path" killed "$path"
        run_case "terminated, $path" terminated "$path"
        run_case "unmounted by the user, $path" unmounted "$path"
    done
    run_case "a directory, with the file in it" in_directory
    run_case "a file that was there" over_file
    run_case "moved" moved
    run_case "watched" watched
    run_case "on another file system" on_another_file_system true
    run_case "what is in the way" in_the_way
    in_chroots
    run_case "upgraded and terminated" upgraded_and_terminated
    run_case "upgraded, with its mode, owner and times" upgraded_file
    run_case "rolled back, on another file system" on_another_file_system rolled_back
    run_case "rolled back, without room for its state" rolled_back_without_room
    run_case "not resized without room for its state" resized_without_room
    run_case "upgraded, though its file has moved" upgraded_after_move
    run_case "upgraded, with what is in memory" memory_travels
    run_case "killed, and its number is kept" kept_until_deleted
    run_case "killed, and started again" resumed
    run_case "terminated while it is upgraded" terminated_while_upgraded
    run_case "without privilege" without_privilege
    finish
}

upgraded_and_terminated() {
    serve_file copy
    "$SLUICE" upgrade -n "$ID" > /dev/null
    SERVER=$(field pid)
    stop_serving
}

# The number of a device is not reused while its mount exists.
kept_until_deleted() {
    local first
    serve_file copy
    first=$ID
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    truncate -s 16M other.raw
    "$SLUICE" add --at "$CASE/other" --mode copy other.raw > /dev/null
    "$SLUICE" del -n "$first"
    [ ! -e disk ] || fail "disk was left behind"
    "$SLUICE" del -a
    same "mounts" "$(mounts_in_case)" ""
    same "state files" "$(ls state)" ""
}

# A service is restarted after its server was killed; with and without a configured number.
resumed() {
    local number service
    truncate -s 16M image.raw
    for number in '"number": 3,' ''; do
        echo "{$number \"spec\": \"$CASE/image.raw\", \"at\": \"$CASE/disk\"}" > config
        for _ in 1 2 3; do
            "$SLUICE" add --foreground --resume --config config > add.txt 2> log.txt &
            service=$!
            for _ in {1..200}; do [ ! -s add.txt ] || break; sleep 0.05; done
            note_server
            same "what is read" "$(head -c 5 disk | wc -c)" 5
            kill -KILL "$service"
            wait_for_end "$service"
            rm add.txt
        done
        "$SLUICE" del -a
        [ ! -e disk ] || fail "disk was left behind"
    done
}

# The next server takes the descriptors and dies before it serves: the old one takes the device
# back, and then ends, as it was told to meanwhile.
terminated_while_upgraded() {
    serve_file copy
    python3 - "$SLUICE_STATE_DIR/device-$ID.sock" "$SERVER" <<'END'
import json, os, signal, socket, sys, time
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
for command in "begin_handover", "hand_over":
    client.sendall(json.dumps({"command": command, "pid": os.getpid()}).encode() + b"\n")
    _, descriptors, _, _ = socket.recv_fds(client, 65536, 16)
assert descriptors
os.kill(int(sys.argv[2]), signal.SIGTERM)
time.sleep(0.2)
END
    wait_for_end "$SERVER"
    [ ! -e disk ] || fail "disk was left behind"
}

# The new server may not open enough files; the old one continues with its own.
old_server_goes_on() {
    local server=$SERVER
    # shellcheck disable=SC2016
    refused "the old server goes on" bash -c 'ulimit -n 9; "$@"' - "$SLUICE" upgrade -n "$ID"
    same "server" "$(field pid)" "$server"
    same "what is read" "$(head -c 5 "$1")" text
    "$SLUICE" stat -n "$ID" > /dev/null
}

rolled_back() {
    local file=other/disk
    echo text | dd of="$file" conv=notrunc,fsync status=none
    old_server_goes_on "$file"
    "$SLUICE" upgrade -n "$ID" > /dev/null
    note_server
    old_server_goes_on "$file"
}

rolled_back_without_room() {
    local server
    mount -t tmpfs -o size=64k,mode=700 none state
    serve_file copy
    server=$SERVER
    echo text | dd of=disk conv=notrunc,fsync status=none
    cat /dev/zero 2> /dev/null > state/full || true
    refused "cannot write the state file" "$SLUICE" upgrade -n "$ID"
    same "server" "$(field pid)" "$server"
    same "what is read" "$(head -c 5 disk)" text
    stop_serving
    umount state
}

# Clients see a new size only if the record has it for the next server.
resized_without_room() {
    mount -t tmpfs -o size=64k,mode=700 none state
    serve_file copy
    cat /dev/zero 2> /dev/null > state/full || true
    truncate -s 512M image.raw
    refused "cannot write the state file" "$SLUICE" resize -n "$ID"
    same "size" "$(stat -c %s disk)" $((256 << 20))
    rm state/full
    "$SLUICE" resize -n "$ID" > /dev/null
    same "size" "$(stat -c %s disk)" $((512 << 20))
    same "recorded size" "$(field size_bytes)" $((512 << 20))
    stop_serving
    umount state
}

# The next server gets the open files; it does not matter which files are at their paths now.
upgraded_after_move() {
    local round
    mkdir data
    truncate -s 16M data/image.raw
    "$SLUICE" add --at "$CASE/disk" --mode copy data/image.raw > /dev/null
    note_server
    echo text | dd of=disk conv=notrunc,fsync status=none
    mv data/image.raw data/moved.raw
    for round in nothing another_file; do
        "$SLUICE" upgrade -n "$ID" > /dev/null
        same "what is read with $round at its path" "$(head -c 5 disk)" text
        truncate -s 16M data/image.raw
    done
    # shellcheck disable=SC2016
    unshare --mount bash -c 'mount -t tmpfs none data && "$@"' - "$SLUICE" upgrade -n "$ID" \
        > /dev/null
    note_server
    same "what is read" "$(head -c 5 disk)" text
    echo more | dd of=disk conv=notrunc,fsync status=none
    same "what the file has" "$(head -c 5 data/moved.raw)" more
    refused "attached for writing" "$SLUICE" add --at "$CASE/other" data/moved.raw
    stop_serving
}

memory_travels() {
    "$SLUICE" add --at "$CASE/disk" --mode copy mem:16M > /dev/null
    note_server
    echo text | dd of=disk conv=notrunc,fsync status=none
    "$SLUICE" upgrade -n "$ID" > /dev/null
    [ "$(field pid)" != "$SERVER" ] || fail "still the old server"
    note_server
    same "what is read" "$(head -c 5 disk)" text
    stop_serving
}

# The file keeps its mode, owner and times.
upgraded_file() {
    local before
    truncate -s 16M image.raw
    touch disk
    chown nobody disk
    chmod 640 disk
    serve_file copy
    same "mode and owner" "$(stat -c '%a %U' disk)" "640 nobody"
    chmod 604 disk
    echo text | dd of=disk conv=notrunc,fsync status=none
    touch -a -d 2020-01-01 disk
    before=$(stat -c '%a %u %g %x %y %z' disk)
    "$SLUICE" upgrade -n "$ID" > /dev/null
    same "attributes" "$(stat -c '%a %u %g %x %y %z' disk)" "$before"
}

# A directory above the file is renamed, also after an upgrade.
moved() {
    mkdir one
    truncate -s 16M image.raw
    "$SLUICE" add --at "$CASE/one/disk" --mode copy image.raw > /dev/null
    mv one two
    "$SLUICE" upgrade -n 0 > /dev/null
    note_server
    mv two three
    exec 8< three/disk
    refused "in use" "$SLUICE" del -n "$ID"
    exec 8<&-
    stop_server
    same "files" "$(ls three)" ""
    same "mounts" "$(mounts_in_case)" ""
}

# `stat --watch` prints every second, for people and for programs.
watched() {
    serve_file copy
    timeout 2.5 "$SLUICE" stat --watch > rates || [ $? = 124 ]
    same "header and rates" "$(wc -l < rates)" 3
    timeout 1.5 "$SLUICE" stat --watch --json > arrays || [ $? = 124 ]
    same "devices" "$(python3 -c '
import json
print([json.loads(line)[0]["id"] for line in open("arrays")])')" "[$ID, $ID]"
    timeout 0.5 "$SLUICE" stat --watch --prometheus > metrics || [ $? = 124 ]
    grep -q '^sluice_requests_total' metrics
}

# The server does not keep the file system busy on which its file appears.
on_another_file_system() {
    mkdir other
    mount -t tmpfs none other
    truncate -s 16M other/image.raw
    "$SLUICE" add --at "$CASE/other/disk" --mode copy other/image.raw > /dev/null
    note_server
    "$@"
    stop_server
    same "files" "$(ls other)" image.raw
    umount other
}

# A program that uses the file, and ends by itself when the file disappears.
start_load() {
    fio --name=load --filename=disk --size=64M --rw=randrw --bs=64k --ioengine=libaio --direct=1 \
        --iodepth=16 --time_based --runtime=3 > load.log 2>&1 &
    LOAD=$!
    while [ "$(stat -c %b image.raw)" -lt 2000 ]; do sleep 0.02; done
}

killed() {
    serve_file "$1"
    start_load
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    # "not connected", or "connection abort" while the kernel tears the connection down.
    refused "connect" timeout 5 head -c 1 disk
    refused "connect" timeout 5 stat disk
    wait_for_end "$LOAD"
    umount disk
    same "what is left" "$(stat -c %s disk)" 0
    rm disk
}

terminated() {
    serve_file "$1"
    start_load
    stop_server
    wait_for_end "$LOAD"
    [ ! -e disk ] || fail "disk was left behind"
}

unmounted() {
    serve_file "$1"
    dd if=/dev/urandom of=disk bs=1M count=8 conv=notrunc,fsync status=none
    umount disk
    wait_for_end "$SERVER"
    [ ! -e disk ] || fail "disk was left behind"
}

in_directory() {
    truncate -s 16M image.raw
    mkdir disk
    "$SLUICE" add --frontend fuse --at "$CASE/disk" image.raw > /dev/null
    note_server
    same "what is in it" "$(ls disk)" disk
    same "size" "$(stat -c %s disk/disk)" 16777216
    refused "not permitted" touch disk/other
    refused "not permitted" rm -f disk/disk
    stop_server
    [ -z "$(ls disk)" ] || fail "disk/ is not empty"
}

over_file() {
    echo text > disk
    truncate -s 16M image.raw
    "$SLUICE" add --frontend fuse --at "$CASE/disk" image.raw > /dev/null
    note_server
    same "size" "$(stat -c %s disk)" 16777216
    stop_server
    same "what was there" "$(cat disk)" text
}

in_the_way() {
    truncate -s 16M other.raw
    add_at() { "$SLUICE" add --frontend fuse --at "$1" other.raw; }
    refused "directory" add_at "$CASE/nowhere/disk"
    refused "neither a regular file nor a directory" add_at /dev/null
    serve_file copy
    refused "mounted on" add_at "$CASE/disk"
    kill -KILL "$SERVER"
    wait_for_end "$SERVER"
    refused "mounted on" add_at "$CASE/disk"
    umount disk
    rm disk
}

in_chroots() {
    # In a chroot `unshare` cannot make mounts private; but then all other cases run in a chroot.
    mountpoint -q / || { echo "# in a chroot already"; return 0; }
    run_case "in a chroot" in_chroot jail_as_mount_point
    run_case "in a chroot, upgraded" in_chroot jail_as_mount_point upgrade
    run_case "in a chroot that is no mount point" in_chroot jail_as_folder
    run_case "in a chroot that is no mount point, upgraded" in_chroot jail_as_folder upgrade
}

# in_chroot JAIL [COMMAND]: the mount that a server makes in a chroot is unmounted there. JAIL is a
# function that makes the folder `jail` show the root; COMMAND, such as upgrade, runs before the
# server ends. The namespace lives as long as the shell in it.
in_chroot() {
    mkdir jail
    truncate -s 64M image.raw
    export -f jail_as_mount_point jail_as_folder
    # shellcheck disable=SC2016
    unshare --mount bash -c '"$0" && exec chroot jail "$@"' "$1" sh -ec '
        "$0" add --frontend fuse --at "$2/disk" --mode copy "$2/image.raw"
        [ -z "$1" ] || "$0" "$1" -n 0
        grep -q " $2/disk " /proc/self/mountinfo
        kill $(sed -nE "s/^ *\"pid\": ([0-9]+),/\1/p" "$2/state/device-0.json")
        tries=0
        while [ -e "$2/disk" ] && [ $tries -lt 200 ]; do sleep 0.05; tries=$((tries + 1)); done
        ! grep -q " $2/disk " /proc/self/mountinfo' "$SLUICE" "${2-}" "$CASE" > add.txt
    [ ! -e disk ] || fail "disk was left behind"
    same "state files" "$(ls state)" ""
}

jail_as_mount_point() {
    mount --rbind / jail
}

jail_as_folder() {
    local path
    for path in /*; do
        if [ -L "$path" ]; then
            cp -P "$path" jail
        elif [ -d "$path" ]; then
            mkdir "jail$path"
            mount --rbind "$path" "jail$path"
        fi
    done
}

without_privilege() {
    local user="runuser -u nobody -- env SLUICE_STATE_DIR=$CASE/theirs"
    command -v fusermount3 > /dev/null || { echo "# no fusermount3"; return 0; }
    prepare_for_nobody
    $user theirs/sluice add --at "$CASE/theirs/disk" --mode copy theirs/image.raw > /dev/null
    $user fio --name=verify --filename="$CASE/theirs/disk" --size=16M --rw=randrw \
        --bsrange=512-64k --verify=crc32c --verify_state_save=0 --output=/dev/null
    refused "denied" cat theirs/disk
    $user theirs/sluice upgrade -n 0 > /dev/null
    $user head -c 4096 theirs/disk > /dev/null
    kill "$(SLUICE_STATE_DIR=$CASE/theirs ID=0 field pid)"
    for _ in {1..200}; do [ -e theirs/disk ] || return 0; sleep 0.05; done
    fail "disk was left behind"
}

main
