#!/usr/bin/env bash
# The size of a backing has changed when a device changes servers. If it has become smaller, the
# next server refuses to take over, and the old one continues with the remaining part. If it has
# become larger, the handover succeeds.
# shellcheck source=tests/interop/lib_loop.sh
. "$(dirname "${BASH_SOURCE[0]}")/../interop/lib_loop.sh"

main() {
    local path
    begin_loop_plain
    for path in copy passthrough; do
        [[ " $PATHS " == *" $path "* ]] || continue
        run_case "as a file, $path" as_a_file "$path"
        run_case "as a loop device, $path" as_a_loop_device "$path"
    done
    run_case "a part of a file" a_part
    run_case "a block device" a_block_device
    [[ $PATHS != *passthrough* ]] || run_case "longer, by odd bytes" made_longer
    finish
}

as_a_file() {
    truncate -s 32M image.raw
    serve_file "$1"
    shrinks disk
    stop_serving
}

as_a_loop_device() {
    truncate -s 32M image.raw
    serve_loop "$1" 1
    shrinks "$DEV"
    stop_loop
}

# shrinks DEVICE: shrinks image.raw, the backing of DEVICE.
shrinks() {
    local bytes server=$SERVER
    bytes=$(stat -c %s image.raw)
    truncate -s 8M image.raw
    refused "has become smaller than its served part, 8388608 bytes instead of $bytes" \
        "$SLUICE" upgrade -n "$ID"
    same "server" "$(field pid)" "$server"
    dd if="$1" of=/dev/null bs=1M count=8 iflag=direct status=none
    truncate -s "$bytes" image.raw
    "$SLUICE" upgrade -n "$ID" > /dev/null
    wait_for_end "$server"
    note_server
    dd if="$1" of=/dev/null bs=1M iflag=direct status=none
}

a_part() {
    truncate -s 16M image.raw
    serve_loop copy 1 'loop(image.raw, offset=4M, size=8M)'
    truncate -s 11M image.raw
    refused "7340032 bytes instead of 8388608" "$SLUICE" upgrade -n "$ID"
    truncate -s 12M image.raw
    "$SLUICE" upgrade -n "$ID" > /dev/null
    wait_for_end "$SERVER"
    note_server
    stop_loop
}

# With passthrough a client can extend the backing beyond the device, by any number of bytes.
made_longer() {
    local server
    serve_file passthrough
    server=$SERVER
    exec 5<> disk
    printf abc >> disk
    "$SLUICE" upgrade -n "$ID" > /dev/null
    wait_for_end "$server"
    note_server
    echo text >&5
    same "what is read" "$(head -n 1 disk)" text
    exec 5<&-
    stop_serving
}

a_block_device() {
    local loop
    truncate -s 16M image.raw
    loop=$(losetup -f --show image.raw)
    serve_loop copy 1 "$loop"
    truncate -s 8M image.raw
    losetup -c "$loop"
    refused "8388608 bytes instead of 16777216" "$SLUICE" upgrade -n "$ID"
    truncate -s 16M image.raw
    losetup -c "$loop"
    "$SLUICE" upgrade -n "$ID" > /dev/null
    wait_for_end "$SERVER"
    note_server
    stop_loop
}

main
