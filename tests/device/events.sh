#!/usr/bin/env bash
# `sluice events` of a ublk device, which outlives its servers. tests/interop/cli_events.sh tests
# the events that all front ends share.
. "$(dirname "$0")/lib.sh"

main() {
    run_case "a device that changes servers" servers
    finish
}

servers() {
    add -t null --size 64M -r 1 --name web
    kill_server
    sluice list > /dev/null
    sluice list > /dev/null
    same "after looking" "$(kinds)" "added server_died"
    sluice recover web > /dev/null
    sluice list > /dev/null
    same "after recovery" "$(kinds)" "added server_died recovered"
    sluice quiesce web
    sluice list > /dev/null
    same "after quiesce" "$(kinds)" "added server_died recovered quiesced"
    sluice recover web > /dev/null
    sluice upgrade web > /dev/null
    same "after upgrade" "$(kinds)" "added server_died recovered quiesced recovered upgraded"
    kill_server
    sluice del web
    same "after del" "$(kinds | cut -d' ' -f7-)" "server_died deleted"
    same "by number" "$(kinds -n "$ID" | wc -w)" 8
}

kinds() {
    sluice events --json "$@" |
        python3 -c 'import json, sys; print(*[each["kind"] for each in json.load(sys.stdin)])'
}

main
