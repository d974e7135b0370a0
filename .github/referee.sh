#!/bin/bash
# Measures again two clusters, chosen by lot, of each published set that was added or changed since a commit: with the
# sources, the compiler and the packages that it was measured with, as far as these are public.
#
#   .github/referee.sh COMMIT
#
# Fails if one is another. Where the testbed is another one, nothing can be said: that is told, and no failure.
set -euo pipefail
cd "$(dirname "$0")/.."
base=$(git rev-parse --verify "$1^{commit}")
failed=0

# A field of the environment in the record of a set, if it looks as it should: it comes from whoever submits.
field() {
    head -n 1 "$1" | jq -r ".set.run.environment.$2 // empty" | sed -E 's/^rustc ([0-9.]+) .*/\1/' | grep -xE "$3" || true
}

# Makes `bench` in ./referee of the revision that measured, if that is one of this project's; else of this one. Modules and
# scenarios that are submitted with the set are those of the submission.
build() {
    local revision=$1 compiler=$2
    git merge-base --is-ancestor "${revision:-none}" "$base" 2>/dev/null || revision=HEAD
    git worktree remove --force referee 2>/dev/null || true
    git worktree add --quiet --force --detach referee "$revision"
    git diff -z --name-only --diff-filter=d "$base"...HEAD -- modules checks |
        xargs -0 -r git -C referee checkout --quiet "$(git rev-parse HEAD)" --
    if [ -n "$compiler" ]; then
        rustup toolchain install "$compiler" --profile minimal --no-self-update
    fi
    (cd referee && env ${compiler:+RUSTUP_TOOLCHAIN="$compiler"} \
        cargo build --release --locked --package meshbench-cli --target-dir "../target/referee")
}

judge() {
    local set=$1 clusters mirror code=0
    clusters=$(jq -r 'select(.cell) | .cell.key | "\(.[0])_\(.[1])_\(.[2])"' "$set" | sort -u | shuf -n 2)
    [ -n "$clusters" ] || { echo "$set: has no cells"; return; }
    build "$(field "$set" harness_revision '[0-9a-f]{40}')" "$(field "$set" runner_compiler '1\.[0-9]+\.[0-9]+')"
    mirror=$(field "$set" debian_mirror 'http://snapshot\.debian\.org/archive/debian/[0-9]{8}T[0-9]{6}Z')
    # Names of clusters hold no blanks.
    # shellcheck disable=SC2086
    (cd referee && env ${mirror:+MESHBENCH_DEBIAN_MIRROR="$mirror"} \
        ../target/referee/release/bench repeat --json "../$set" $clusters >../target/repeated.json) || code=$?
    jq -r '.cells[] | "\(.key | tostring): \(.sameness) \(.detail // "" | tostring)"' target/repeated.json || true
    if [ $code = 0 ]; then
        return
    elif jq -e '.testbed | length > 0' target/repeated.json >/dev/null; then
        echo "::warning file=$set::not judged: the testbed is another one: $(jq -r '.testbed | join("; ")' target/repeated.json)"
    elif [ $code = 101 ]; then
        failed=1
        echo "::error file=$set::it did not repeat"
    else
        failed=1
        echo "::error file=$set::exit code $code: it could not be repeated"
    fi
}

# Renamed ones have the new name; a read from the list is none from the terminal.
while read -r -d '' set; do
    clock=$(head -n 1 "$set" | jq -r '.set.run.clock // "real"')
    if [ "$clock" = virtual ]; then
        judge "$set" </dev/null
    else
        echo "$set: of real time, which does not repeat"
    fi
done < <(git diff -z --name-only --diff-filter=AMR "$base"...HEAD -- 'results/*.jsonl')
exit "$failed"
