# bench.sh BENCH FLAKE "MODULE…" ARGUMENT…: runs BENCH with a `--guest` for each of the MODULEs among the arguments.
set -eu
bench=$1 flake=$2 modules=$3
shift 3

# Only these commands start machines; without a command it is `run`.
case "${1-}" in
list | doctor | schema | show | report | compare | new-module | help | -h | --help | -V | --version | "") exec "$bench" "$@" ;;
esac

wanted=
for argument in "$@"; do
    case "$argument" in
    # Finished guests and guests made from other sources are the caller's.
    --guest | --guest=* | --binary | --binary=* | --refresh) exec "$bench" "$@" ;;
    esac
    for module in $modules; do
        [ "$argument" != "$module" ] || wanted="$wanted $module"
    done
done
[ -n "$wanted" ] || exec "$bench" "$@"

case "$1" in
run | shell | contract)
    command=$1
    shift
    ;;
*) command=run ;;
esac
for module in internal $wanted; do
    guest=$(nix --extra-experimental-features 'nix-command flakes' \
        build --no-link --print-out-paths "$flake#guest-$module")
    set -- --guest "$module=$guest" "$@"
done
exec "$bench" "$command" "$@"
