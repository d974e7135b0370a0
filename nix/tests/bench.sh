#!/bin/sh
# What ../bench.sh makes of arguments: BENCH only prints its own, and nix a path for every guest.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT PIPE TERM
printf '#!/bin/sh\nfor word; do :; done\necho "/store/${word##*#}"\n' >"$work/nix"
printf '#!/bin/sh\nprintf "%%s\\n" "$*"\n' >"$work/bench"
chmod +x "$work/nix" "$work/bench"

expect() {
    wanted=$1
    shift
    got=$(PATH="$work:$PATH" sh ../bench.sh "$work/bench" path:flake "internal tailscale wireguard" "$@")
    [ "$got" = "$wanted" ] || { echo "bench.sh $*: $got, not $wanted" >&2; exit 1; }
}
wire='--guest internal=/store/guest-internal --guest wireguard=/store/guest-wireguard'
expect "wireguard --quick $wire" wireguard --quick
expect "run wireguard --scenario lan $wire" run wireguard --scenario lan
expect "--cache there nat-grid wireguard $wire" --cache there nat-grid wireguard
expect "shell wireguard $wire -- alice wireguard" shell wireguard -- alice wireguard
expect "wireguard tailscale ${wire%% --guest wire*} --guest wireguard=/store/guest-wireguard --guest tailscale=/store/guest-tailscale" \
    wireguard tailscale
expect "compare wireguard other" compare wireguard other
expect "wireguard --binary wg=mine" wireguard --binary wg=mine
expect "contract --json" contract --json
expect "--version" --version
expect ""
echo "bench.sh: adds the guests that are needed, where they belong"
