#!/usr/bin/env bash
# ublk devices by number, name and path: a device keeps its name when its server changes, and the
# devices of other users are shown as such. There is no udev in the guest: servers make the links.
. "$(dirname "$0")/lib.sh"

main() {
    run_case "number, name, path and links name the same device" called
    run_case "a name stays over recover, upgrade and resume" lasting
    run_case "a device without a server is found and cleared away by its name" without_server
    run_case "messages have the number and the node" messages
    run_case "the program as ublk" as_ublk
    run_case "a table, and all there is of one device" shown_as_table
    run_case "a user's device is the user's" of_a_user
    finish
}

called() {
    local word
    add -t null --size 1G --name db
    ln -s "$DEV" link
    ln -s /dev/sluice/db far
    same "link" "$(readlink /dev/sluice/db)" "../ublkb$ID"
    for word in "$ID" db "$DEV" "/dev/ublkc$ID" link ./far /dev/sluice/db; do
        sluice list "$word" > out
        grep -q "^dev id $ID: " out || fail "$word: $(cat out)"
        sluice list -n "$word" > out
        grep -q "^	name db$" out || fail "$word: $(cat out)"
        sluice stat "$word" > out
        sluice inspect "$word" > out
        sluice set_affinity "$word" -q 0 --cpuset 0
        sluice resize "$word" 1G > out
    done
    sluice del link
    [ ! -e /dev/sluice ] || fail "left: $(ls /dev/sluice)"
    refuses "there is no device 'db': 'sluice list' shows all" "$SLUICE" del db
    refuses "there is no device $ID: 'sluice list' shows all" "$SLUICE" del "$DEV"
    refuses "there is no device $ID: 'sluice list' shows all" "$SLUICE" del "$ID"
    refuses "there is no device $ID: 'sluice list' shows all" "$SLUICE" list "$ID"
    refuses "there is no device $ID: 'sluice list' shows all" "$SLUICE" recover "$DEV"
    # A partition does not name its device.
    truncate -s 64M disk
    add -t loop -f disk
    printf 'label: gpt\nsize=32M\n' | sfdisk -q "$DEV"
    wait_for 10 test -b "${DEV}p1"
    refuses "'${DEV}p1' is a partition: name its device, $DEV" "$SLUICE" stat "${DEV}p1"
    del "$DEV"
}

lasting() {
    local before service
    truncate -s 64M disk
    add -t loop -f disk --name db -r 1
    before=$(server)
    kill_server
    sluice recover db > out
    grep -q "^	name db$" out
    [ "$before" != "$(server)" ] || fail "the same server"
    sluice upgrade db > out
    same "name" "$(field name)" db
    same "link" "$(readlink -f /dev/sluice/db)" "$DEV"
    kill_server
    # A service knows its device by the name alone.
    "$SLUICE" add --foreground --resume --name db -r 1 -t loop -f disk > served 2> log &
    service=$!
    wait_for 20 test -s served
    same "the device" "$(head -n 1 served)" "$DEV"
    same "its server" "$(server)" "$service"
    same "link" "$(readlink -f /dev/sluice/db)" "$DEV"
    kill -TERM $service
    wait $service
    [ ! -e /dev/sluice ] || fail "left: $(ls /dev/sluice)"
}

without_server() {
    add -t null --name db
    kill_server
    refuses "has the name 'db'" "$SLUICE" add -t null --name db
    del db
    [ ! -e /dev/sluice ] || fail "left: $(ls /dev/sluice)"
    same "state files" "$(ls state)" ""
    # A record without a device of the kernel, as after a crash of the machine.
    add -t null --name db
    cp "state/device-$ID.json" record
    del db
    cp record "state/device-$ID.json"
    ln -sf "../ublkb$ID" link
    del db
    same "state files" "$(ls state)" ""
    cp record state/device-77.json
    sed -i 's/"id": [0-9]*/"id": 77/' state/device-77.json
    add -t null --name db
    same "state files" "$(echo state/*.json)" "state/device-$ID.json"
    del db
}

messages() {
    add -t null
    exec 5< "$DEV"
    if uname -r | grep -qE '^[7-9]'; then
        refuses "^sluice: device $ID \($DEV\) is in use" "$SLUICE" del "$DEV"
    fi
    exec 5<&-
    refuses "^sluice: device $ID \($DEV\) already exists: " "$SLUICE" add -t null -n "$ID"
    refuses "device $ID \($DEV\) cannot be handed over: it was added without recovery" \
        "$SLUICE" quiesce "$ID"
    refuses "^sluice: this machine has no processor 999: it has 0" \
        "$SLUICE" set_affinity "$ID" -q 0 --cpuset 999
    kill_server
    refuses "the server of device $ID \($DEV\), process [0-9]*, is gone: use 'sluice del -n $ID'" \
        "$SLUICE" upgrade "$ID"
    del
    # No message explains the choice of front end and mode if it was the first.
    sluice add -t null 2> err > out
    same "error output" "$(cat err)" ""
    del "$(head -n 1 out)"
}

as_ublk() {
    truncate -s 64M disk
    printf 'mark' | dd of=disk bs=1M seek=1 conv=notrunc status=none
    refuses "write 2048s \(that is 1M\) or 2k" "$SLUICE" add -t loop -f disk -o 2048
    ln -s "$SLUICE" ublk
    ./ublk add -t loop -f disk -o 2048 > out
    DEV=$(head -n 1 out)
    ID=${DEV#/dev/ublkb}
    same "where it begins" "$(head -c 4 "$DEV")" mark
    ./ublk list > out
    grep -q "^dev id $ID: nr_hw_queues" out || fail "$(cat out)"
    # It deletes devices in use.
    exec 5< "$DEV"
    refuses 'in use' "$SLUICE" del -n "$ID"
    ./ublk del -n "$ID" --async
    fails 'error|Invalid' dd of=/dev/null bs=4k count=1 skip=9 iflag=direct <&5
    exec 5<&-
}

shown_as_table() {
    add -t null --size 1G --name db
    sluice list > out
    grep -qE "^ID +NAME +DEVICE +SIZE +STATE +MODE +STACK$" out || fail "$(cat out)"
    grep -qE "^$ID +db +$DEV +1G +LIVE +[a-z_]+ +null:1G$" out || fail "$(cat out)"
    sluice list -n "$ID" > out
    grep -q "^dev id $ID: " out
}

of_a_user() {
    local theirs
    chmod 0666 /dev/ublk-control
    chmod 0755 "$WORK" "$CASE"
    mkdir theirs
    chown nobody theirs
    (
        until [ -e stop ]; do
            chown nobody /dev/ublk[bc][0-9]* 2> /dev/null || true
            sleep 0.01
        done
    ) &
    SLUICE_STATE_DIR=$CASE/theirs setpriv --reuid nobody --regid nogroup --clear-groups \
        "$SLUICE" add --unprivileged --quiet --name db null:64M > path
    touch stop
    theirs=$(cat path)
    [ ! -e /dev/sluice/db ] || fail "a user's name is in /dev"
    sluice list > out
    grep -qE "^${theirs#/dev/ublkb} +- +$theirs +64M +LIVE +- +of user nobody \(65534\)$" out ||
        fail "$(cat out)"
    sluice list "$theirs" > out
    grep -q "^	server not sluice's, but of user nobody (65534): " out || fail "$(cat out)"
    refuses "device .* \($theirs\) is not one that sluice serves" "$SLUICE" stat "$theirs"
    del "$theirs"
}

main
