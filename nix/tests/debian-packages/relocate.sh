# The builder of a Debian that runs from where it lies: $archive unpacked to $out, where every program finds its loader
# and its libraries, every script its interpreter, and every link what it leads to.
# Nix lets no builder make a setuid program.
set -eu
umask 022
mkdir "$out"
cd "$out"
tar --extract --file "$archive" --no-same-owner --no-same-permissions --exclude './dev/*' --exclude './boot/*' --exclude './usr/share/doc/*' \
    --exclude './usr/share/locale/*' --exclude './usr/share/man/*' --exclude './var/cache/*' --exclude './var/log/*'
chmod -R u+w .
# One folder of programs, as in a package of Nix.
find usr/sbin -mindepth 1 -maxdepth 1 -exec mv -n {} usr/bin/ \;
rm -r usr/sbin
ln -s bin usr/sbin
libraries=$out/usr/lib/x86_64-linux-gnu
loader=$libraries/ld-linux-x86-64.so.2
search=$libraries:$libraries/systemd:$libraries/perl/5.40:$out/usr/lib/systemd
cp usr/bin/patchelf "$TMPDIR/patchelf"
patchelf() { "$loader" --library-path "$libraries" "$TMPDIR/patchelf" "$@"; }

# Links first: those that begin at the root lead out of the folder.
find . -type l -lname '/*' -printf '%p\n%l\n' | while read -r link && read -r target; do
    case $target in
    /dev/* | /proc/* | /run/*) ;;
    *) ln -sfn "$out$target" "$link" ;;
    esac
done

# A program that is not position-independent does not survive patchelf: its loader is named by a script.
behind_script() {
    mv "$1" "$1.program"
    printf '#!%s/usr/bin/dash\nexec %s --argv0 "$0" --library-path %s %s.program "$@"\n' \
        "$out" "$loader" "$libraries" "$out/$1" >"$1"
    chmod +x "$1"
}
find usr/bin usr/lib usr/libexec -type f -perm /111 ! -name '*.so*' | while read -r file; do
    case $(head -c 4 "$file" | tr '\0' ' ') in
    *ELF)
        case $(patchelf --print-interpreter "$file" 2>/dev/null || true) in
        */ld-linux*) ;;
        *) continue ;;
        esac
        if [ "$(od -An -tx1 -j16 -N1 "$file")" = ' 02' ]; then
            behind_script "$file"
        else
            patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$search" "$file"
        fi
        ;;
    '#!'*) sed -i "1s|^#! */\(usr/\)\?s\?bin/|#!$out/usr/bin/|" "$file" ;;
    esac
done
# Programs that others name by their place.
find usr/lib/systemd/system usr/lib/udev/rules.d -type f -exec sed -i \
    "s|=-\?/usr/s\?bin/|=$out/usr/bin/|; s|=-/usr/lib/|=-$out/usr/lib/|; s|=/usr/lib/|=$out/usr/lib/|" \
    {} +
exit 0
