# systemd as NixOS looks for it: Debian's, with the unit files and examples where NixOS takes them from.
mkdir -p $out/example/systemd $out/lib $out/share
ln -s $debian/usr/lib/systemd $out/lib/
# Of the rules only its own, and of these no ones for hardware.
mkdir -p $out/lib/udev/rules.d
ln -s $debian/usr/lib/udev/* $out/lib/udev/ 2>/dev/null || true
grep -E '/rules.d/(50-udev-default|75-net-description|80-net-setup-link|99-systemd).rules$' \
  $debian/var/lib/dpkg/info/udev.list | while read -r rules; do ln -s $debian/usr/${rules#*usr/} $out/lib/udev/rules.d/; done
ln -s $debian/usr/share/dbus-1 $out/share/
ln -s $debian/usr/bin $out/bin
ln -s $debian/usr/bin $out/sbin
cp -r $debian/usr/lib/systemd/system $debian/usr/lib/systemd/user $out/example/systemd/
cp -r $debian/usr/lib/sysctl.d $debian/usr/lib/tmpfiles.d $out/example/
chmod -R u+w $out/example
for unit in $units; do
  [ -e $out/example/systemd/system/$unit ] || echo '[Unit]' >$out/example/systemd/system/$unit
done
for wants in sysinit sockets local-fs multi-user timers; do
  mkdir -p $out/example/systemd/system/$wants.target.wants
done
for name in home journal-nocow static-nodes-permissions systemd systemd-nologin systemd-nspawn systemd-tmp tmp var x11; do
  [ -e $out/example/tmpfiles.d/$name.conf ] || : >$out/example/tmpfiles.d/$name.conf
done
[ -e $out/example/sysctl.d/50-default.conf ] || : >$out/example/sysctl.d/50-default.conf
: >$out/example/sysctl.d/50-coredump.conf
