# bench.sh BENCH FLAKE "MODULE…" ARGUMENT…: runs BENCH with a `--guest` for each of the MODULEs among the arguments.
set -eu
bench=$1 flake=$2 modules=$3
shift 3

wanted=
for argument in "$@"; do
    case "$argument" in
    --) break ;;
    # Commands that start no machines.
    list | doctor | schema | show | report | compare | survey | new-module | help | -h | --help | -V | --version)
        exec "$bench" "$@" ;;
    # Finished guests and guests made from other sources are the caller's.
    --guest | --guest=* | --binary | --binary=* | --refresh) exec "$bench" "$@" ;;
    esac
    for module in $modules; do
        [ "$argument" != "$module" ] || wanted="$wanted $module"
    done
done
[ -n "$wanted" ] || exec "$bench" "$@"

guests=
for module in internal $wanted; do
    guest=$(nix --extra-experimental-features 'nix-command flakes' \
        build --no-link --print-out-paths "$flake#guest-$module")
    guests="$guests --guest $module=$guest"
done

# To the end of the options: what follows `--` is a machine's.
for argument in "$@"; do
    shift
    if [ "$argument" = -- ]; then
        set -- "$@" $guests
        guests=
    fi
    set -- "$@" "$argument"
done
exec "$bench" "$@" $guests
