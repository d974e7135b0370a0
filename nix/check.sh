# The builder of mkCheck.nix. Its arguments are those of `bench run`.
set -eu
export HOME="$TMPDIR" NO_COLOR=1 COLUMNS=120
mkdir -p "$out/logs"

{
    echo "user:    $(id -u):$(id -g)"
    echo "network: $(cd /sys/class/net 2>/dev/null && echo * || sed -n 's/^ *\([^ ]*\):.*/\1/p' /proc/net/dev | tr '\n' ' ')"
    echo "kvm:     $(if [ -e /dev/kvm ]; then echo present; else echo absent; fi)"
    echo "cores:   $(nproc)"
} | tee "$out/logs/sandbox.txt"

code="$TMPDIR/exit-code"
{
    status=0
    "$bench" run "$@" --root "$root" --cache "$TMPDIR/cache" --out "$out/results" >"$out/table.txt" || status=$?
    echo "$status" >"$code"
} 2>&1 | tee "$out/logs/bench.txt"
cat "$out/table.txt"

read -r status <"$code"
echo "$status" >"$out/exit-code"
# 100: measured, but some cells failed (see `bench --help`).
case "$status:$strict" in
0:* | 100:) ;;
*)
    echo "bench ended with $status" >&2
    exit "$status"
    ;;
esac
