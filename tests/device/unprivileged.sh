#!/usr/bin/env bash
# Devices of a user without privilege. There is no udev in the guest: a shell loop changes the owner
# of the nodes as the installed udev rules would.
. "$(dirname "$0")/lib.sh"

OWNER=nobody
AS_USER=(setpriv --reuid "$OWNER" --regid nogroup --clear-groups)

main() {
    run_case "a user makes, uses and deletes a device" whole_life
    run_case "what needs privilege is refused" refused
    run_case "another user's device is left alone" others
    finish
}

prepare() {
    chmod 0666 /dev/ublk-control
    chmod 0755 "$WORK" "$CASE"
    chown "$OWNER" "$CASE/state"
    truncate -s 16M disk
    chown "$OWNER" disk
    (
        until [ -e stop ]; do
            for node in /dev/ublk[bc][0-9]*; do
                [ ! -e "$node" ] || chown "$OWNER" "$node" 2> /dev/null || true
            done
            sleep 0.01
        done
    ) &
}

user() {
    timeout 60 "${AS_USER[@]}" "$@"
}

whole_life() {
    local mode
    prepare
    for mode in get_data copy; do
        user "$SLUICE" add --unprivileged --mode $mode disk > shown 2> error || fail "$(cat error)"
        DEV=$(head -n 1 shown)
        ID=${DEV#/dev/ublkb}
        echo "$ID" >> made
        wait_for 10 test -O "$DEV" -o "$(stat -c %U "$DEV")" = "$OWNER"
        dd if=/dev/urandom of=data bs=64k count=16 status=none
        chmod 0644 data
        user dd if=data of="$DEV" bs=64k oflag=direct status=none
        cmp -n 1048576 data "$DEV"
        user "$SLUICE" list -n "$ID" > shown
        grep -q "owner: $(id -u $OWNER):" shown
        user "$SLUICE" stat -n "$ID" > shown
        user "$SLUICE" del -n "$ID"
        [ ! -e "/sys/class/ublk-char/ublkc$ID" ] || fail "the driver still has it"
        cmp -n 1048576 data disk
    done
    touch stop
}

refused() {
    prepare
    refuses 'exclude each other' "${AS_USER[@]}" "$SLUICE" add --unprivileged -r 1 disk
    refuses 'is not possible|zero copy' "${AS_USER[@]}" "$SLUICE" add --unprivileged -z disk
    refuses 'is not possible' "${AS_USER[@]}" "$SLUICE" add --unprivileged --mode user_copy disk
    touch stop
}

others() {
    prepare
    touch stop
    wait
    chown root "$CASE/state"
    add -t null
    refuses 'no permission' "${AS_USER[@]}" "$SLUICE" del -n "$ID" --force
    refuses '.' "${AS_USER[@]}" env SLUICE_STATE_DIR="$CASE/theirs" "$SLUICE" del -n "$ID" --force
    same state "$(field state)" LIVE
}

main
