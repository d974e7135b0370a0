# The builder of mkRunTest.nix: runs its arguments and keeps their output.
set -eu
export HOME="$TMPDIR" MESHBENCH_CACHE="$TMPDIR/cache" NO_COLOR=1
mkdir -p "$out" "$MESHBENCH_CACHE"
code="$TMPDIR/exit-code"
{
    status=0
    "$@" || status=$?
    echo "$status" >"$code"
} 2>&1 | tee "$out/log.txt"
read -r status <"$code"
exit "$status"
