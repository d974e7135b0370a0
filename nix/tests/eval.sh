#!/bin/sh
# Checks all Nix code without building anything: it parses, it is formatted, it evaluates to derivations.
#
#   nix/tests/eval.sh                            against stubs of nixpkgs (stub/)
#   NIXPKGS=/path/to/nixpkgs nix/tests/eval.sh   against a real one; what that cannot evaluate is listed
#
# LIST=FILE also writes all derivations there.
set -eu
cd "$(dirname "$0")/../.."
command -v nix-instantiate >/dev/null || { echo "eval.sh: no nix-instantiate (Debian: nix-bin)" >&2; exit 1; }
work=$(mktemp -d)
# What is in a store is read-only.
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
trap 'exit 1' HUP INT PIPE TERM
repository=$PWD
# No daemon, no /nix, no builders: what is evaluated is written nowhere.
echo "build-users-group =" >"$work/nix.conf"
export HOME="$work" NIX_STATE_DIR="$work/state" NIX_LOG_DIR="$work/log" NIX_CONF_DIR="$work" NIX_REMOTE="$work/store"
evaluate() { nix-instantiate --eval --strict --readonly-mode "$@"; }
unquote() { sed -e 's/^"//' -e 's/"$//' -e 's/\\n/\n/g'; }

files=$(find flake.nix nix modules -name '*.nix' | sort)
for file in $files; do
    nix-instantiate --parse "$file" >/dev/null
done
echo "parsed: $(echo "$files" | wc -l) files"
nix/tests/bench.sh

long=$(grep -nE '.{121,}|	|[[:space:]]$' $files || true)
[ -z "$long" ] || { echo "tabs, trailing blanks or more than 120 columns:"; echo "$long"; exit 1; }
if command -v nixpkgs-fmt >/dev/null; then
    nixpkgs-fmt --check $files
else
    echo "formatting: only widths and blanks were checked (no nixpkgs-fmt; cargo install nixpkgs-fmt)"
fi

set --
if [ -n "${NIXPKGS-}" ]; then
    set -- --argstr nixpkgs "$NIXPKGS"
    echo "nixpkgs: $NIXPKGS ($(evaluate -E "(import $NIXPKGS/lib).trivial.release" | unquote))"
    missing=$(evaluate nix/tests/eval.nix "$@" -A missing | unquote)
    # See old.nix.
    [ -z "$missing" ] || echo "too old: it lacks $missing; these, and our Rust packages, are only names"
else
    echo "nixpkgs: stubs; options are those of stub/options.txt, without types, and these packages are only names:"
    evaluate nix/tests/eval.nix -A named | unquote | fold -s -w 118 | sed 's/^/  /'
fi
evaluate nix/tests/eval.nix "$@" -A templates >"$work/value"
evaluate nix/tests/eval.nix "$@" -A names >"$work/value"
unquote <"$work/value" >"$work/names"

failed=0
if [ -z "${NIXPKGS-}" ]; then
    # One process: nothing fails here but by our fault.
    evaluate -E "(import ./nix/tests/eval.nix { }).all \"$work/names\"" >"$work/value"
    unquote <"$work/value" >"$work/paths"
    if grep -vE '/store/[a-z0-9]{32}-' "$work/paths"; then
        echo "these are no derivations" >&2
        exit 1
    fi
    # The same by Nix's own flake machinery, which knows what each output has to be.
    mkdir "$work/flake" "$work/vpn"
    cp -r flake.nix flake.lock Cargo.toml Cargo.lock harness nix modules checks "$work/flake/"
    mkdir "$work/flake/results"
    cp results/README.md "$work/flake/results/"
    git -C "$work/flake" init --quiet
    git -C "$work/flake" add --all
    (
        export NIX_REMOTE='' NIX_STORE_DIR="$work/own-store"
        flakes() { nix --extra-experimental-features 'nix-command flakes' flake "$@" 2>&1; }
        flake="git+file://$work/flake"
        flakes check --no-build --no-write-lock-file --override-input nixpkgs "$flake?dir=nix/tests/stub" "$flake" \
            >"$work/log" || { cat "$work/log"; exit 1; }
        cd "$work/vpn"
        flakes init --template "$flake#vpn" >"$work/log" || { cat "$work/log"; exit 1; }
        diff -r . "$repository/modules/_template"
    )
    echo "nix flake check --no-build, nix flake init: as they should"
else
    # One by one, because an error ends an evaluation; of the matrix, which differs in names only, one a module.
    grep -v -e ^legacyPackages -e aarch64 "$work/names" >"$work/some" || true
    grep "^legacyPackages x86_64-linux .* lan$" "$work/names" >>"$work/some" || true
    : >"$work/paths"
    while read -r line; do
        list=$(printf '"%s" ' $line)
        if value=$(evaluate -E "(import ./nix/tests/eval.nix { nixpkgs = \"$NIXPKGS\"; }).one [ $list ]" 2>"$work/error"); then
            echo "$(echo "$line" | tr ' ' .) $(echo "$value" | unquote)" >>"$work/paths"
        else
            failed=$((failed + 1))
            echo "not evaluated: $(echo "$line" | tr ' ' .): $(grep -m 1 '^ *error' "$work/error" || head -n 1 "$work/error")"
        fi
    done <"$work/some"
fi
[ -z "${LIST-}" ] || cp "$work/paths" "$LIST"
# Names by output; of the matrix only how many there are.
awk '{
    parts = split($1, part, ".")
    key = part[1] "." part[2] (part[1] == "legacyPackages" ? ".bench" : "")
    if (!(key in count)) order[++keys] = key
    count[key]++
    if (part[1] != "legacyPackages" && parts > 2) name[key] = name[key] " " part[3]
}
END { for (i = 1; i <= keys; i++) printf "%4d %s:%s\n", count[order[i]], order[i], name[order[i]] }' "$work/paths" |
    fold -s -w 118 | sed 's/^\([^ ]\)/       \1/'
echo "evaluated: $(wc -l <"$work/paths") of $(wc -l <"$work/names") derivations, $failed failed"
[ "$failed" = 0 ]
