# The lifecycle of members that are whole systems (from-nodes.nix puts before it what is theirs: `name_of_system`,
# `units`, `overlay`, `user_ready`, `user_prepare`, `user_admit`, `user_join`, `user_path`, and $aliases, $interface).

# What is active besides the VPN: all that `stop` has to leave as it was.
active() {
    systemctl list-units --plain --no-legend --state=active,activating,reloading \
        --type=service,socket,timer,path,target,mount,automount,slice,scope | cut -d ' ' -f 1 | sort
}

# Waits until systemd has nothing more to do, but no longer than $1 seconds: some members have units that never end.
settled() {
    end=$(($(cut -d . -f 1 /proc/uptime) + $1))
    while [ -n "$(systemctl list-jobs --no-legend --plain)" ] && [ "$(cut -d . -f 1 /proc/uptime)" -lt "$end" ]; do
        sleep 0.2
    done
}

# Starts what the member's system starts by itself, and does not wait for it.
bring_up() {
    systemctl is-active --quiet multi-user.target || systemctl start --no-block multi-user.target
}

# The overlay's addresses that this machine has.
addresses() {
    if [ -n "$interface" ]; then
        for found in /sys/class/net/$interface; do
            [ -e "$found" ] || continue
            ip -json address show up dev "${found##*/}" scope global -tentative |
                jq -r '[.[].addr_info[]? | select(.local)] | sort_by(.family) | .[].local'
        done
        return
    fi
    overlay "$self" | while read -r host; do
        case $host in
        *:* | *[!0-9.]*) ;;
        *) echo "$host"; continue ;;
        esac
        case $host in
        *:*) echo "$host" ;;
        # A name, which the member's own /etc/hosts has.
        *) getent ahosts "$host" | cut -d ' ' -f 1 | sort -u ;;
        esac
    done | while read -r address; do
        # A name may also lead to the underlay.
        if [ -n "$(ip -oneline address show scope global -tentative to "$address")" ]; then echo "$address"; fi
    done | sort -u
}

running() {
    for unit in $(units "$self"); do
        systemctl is-active --quiet "$unit" || return 1
    done
}

# Whether this machine has to have an address: a coordinator need not be in the overlay.
is_coordinator() {
    jq -e '.self as $self | any(.members[]; .name == $self and .role == "coordinator")' cluster.json >/dev/null
}

case "${1-}" in
identity) echo '{}' ;;
configure)
    cat >cluster.json
    jq -r .self cluster.json >self
    self=$(cat self)
    system=$(name_of_system "$self") || exit 64
    jq -r '.admission // empty' cluster.json >admission
    # Its /etc takes the place of the image's, where the harness has put its unit. switch-to-configuration would want
    # a session manager, and start only what was active before.
    cp /etc/systemd/system/vpn.service vpn.service
    if ! LC_ALL=C "$system/activate" >activation.log 2>&1; then
        echo "the activation of $system failed:" >&2
        tail -n 40 activation.log >&2
        # Whatever comes after what failed, that is read first.
        grep -B 4 '^Activation script snippet' activation.log >&2 || true
        exit 1
    fi
    cp vpn.service /etc/systemd/system/vpn.service
    mkdir -p /etc/systemd/system/meshbench.target.wants
    # Each where this machine reaches it: a neighbour on the LAN, others perhaps by a translator.
    jq -r --argjson aliases "$aliases" '
        .self as $self | .members[] | select(.name != $self) | . as $m
        | ([$m.name] + [$aliases | to_entries[] | select(.value == $m.name) | .key] | join(" ")) as $names
        | .hosts[] | "\(.) \($names)"' cluster.json >>/etc/hosts
    echo "$system" >/var/lib/meshbench/system
    systemctl daemon-reload
    systemctl restart sysinit-reactivation.target
    for unit in systemd-modules-load systemd-sysctl; do
        systemctl restart "$unit.service" || echo "$unit failed" >&2
    done
    active >before
    bring_up
    # What is the VPN waits for `run`, so that the time to connect is measured, and not what else the system starts.
    systemctl stop $(units "$self")
    settled 20
    ;;
run)
    self=$(cat self)
    # They end with this unit, and are started anew with it.
    trap 'systemctl stop $(units "$self"); exit 0' TERM
    bring_up
    user_prepare
    if ! systemctl start $(units "$self"); then
        systemctl status --no-pager --full $(units "$self") || true
        exit 1
    fi
    user_join
    sleep infinity &
    wait
    ;;
admit)
    text=$(user_admit "$2") || exit
    printf '%s' "$text" | jq -R -s .
    ;;
stop)
    self=$(cat self)
    systemctl stop $(units "$self")
    # What the member's system started is taken back with it.
    active | comm -13 before - | grep -v '\.slice$' | while read -r unit; do systemctl stop "$unit" || true; done
    for found in /sys/class/net/$interface; do
        if [ -n "$interface" ] && [ -e "$found" ]; then ip link delete "${found##*/}" || true; fi
    done
    ;;
ready)
    self=$(cat self)
    running || exit 1
    is_coordinator || [ -n "$(addresses)" ] || exit 1
    user_ready
    ;;
address)
    self=$(cat self)
    addresses
    ;;
path) user_path "$2" ;;
version) cat /run/current-system/nixos-version ;;
*) exit 64 ;;
esac
