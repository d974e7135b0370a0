# The builder of mkCheck.nix. Its arguments are those of `bench run`, but for the guests.
set -eu
export HOME="$TMPDIR" NO_COLOR=1 COLUMNS=120 MESHBENCH_ROOT="$root" MESHBENCH_CACHE="$TMPDIR/cache"
mkdir -p "$out"
# Nix has no absent variable.
[ -n "$MESHBENCH_QEMU" ] || unset MESHBENCH_QEMU

# What is said of the build machine, or by its clock, is no output of a check in virtual time.
logs=$out/logs
if [ "$clock" = virtual ]; then
    logs=$TMPDIR/logs
    export SOURCE_DATE_EPOCH=1
fi
mkdir -p "$logs"
{
    echo "user:    $(id -u):$(id -g)"
    echo "network: $(cd /sys/class/net 2>/dev/null && echo * || sed -n 's/^ *\([^ ]*\):.*/\1/p' /proc/net/dev | tr '\n' ' ')"
    echo "kvm:     $(if [ -e /dev/kvm ]; then echo present; else echo absent; fi)"
    echo "cores:   $(nproc)"
} | tee "$logs/sandbox.txt"

# step NAME ARGUMENT…: `bench ARGUMENT…`; what it prints is left in NAME.txt, what it says meanwhile in $logs.
worst=0
step() {
    name=$1
    shift
    for guest in $guests; do
        set -- "$@" --guest "$guest"
    done
    {
        status=0
        "$bench" "$@" >"$out/$name.txt" || status=$?
        echo "$status" >"$TMPDIR/status"
    } 2>&1 | tee "$logs/$name.txt"
    cat "$out/$name.txt"
    read -r status <"$TMPDIR/status"
    case $status in
    0) ;;
    # Done, but a promise was broken or a cell failed (see `bench --help`).
    100) worst=100 ;;
    *)
        echo "bench $name ended with $status" >&2
        exit "$status"
        ;;
    esac
}

[ -z "$contract" ] || step contract contract "$module" --clock "$clock" --out "$out/contract"
step table run "$module" --strict --out "$out/results" "$@"

echo "$worst" >"$out/exit-code"
if [ -n "$strict" ] && [ "$worst" != 0 ]; then
    echo "$module: not as expected; see above" >&2
    exit "$worst"
fi
