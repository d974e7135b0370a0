# Links the files of the Debian packages $packages below $out, in the folders that a package of Nix has.
mkdir $out
for name in $packages; do
  list=$debian/var/lib/dpkg/info/$name.list
  [ -e $list ] || list=$debian/var/lib/dpkg/info/$name:amd64.list
  cat $list
done | sort -u | while read -r file; do
  case $file in
    /bin/* | /sbin/* | /usr/bin/* | /usr/sbin/*) from=usr/bin/${file##*/} to=bin/${file##*/} ;;
    /usr/lib/x86_64-linux-gnu/*) from=${file#/} to=lib/${file#/usr/lib/x86_64-linux-gnu/} ;;
    /lib/* | /usr/lib/*) from=usr/lib/${file#*lib/} to=lib/${file#*lib/} ;;
    /usr/share/* | /usr/libexec/*) from=${file#/} to=${file#/usr/} ;;
    /etc/*) from=${file#/} to=${file#/} ;;
    *) continue ;;
  esac
  if [ -d $debian/$from ] || ! [ -e $debian/$from ]; then continue; fi
  mkdir -p $out/${to%/*}
  ln -sfn $debian/$from $out/$to
done
# Programs of which Debian has several, and one of these was chosen.
find $debian/usr/bin -lname '*/etc/alternatives/*' | while read -r link; do
  target=$(readlink -f $link || true)
  if [ -n "$target" ] && [ -e $out/bin/${target##*/} ]; then ln -sfn $target $out/bin/${link##*/}; fi
done
if [ -e $out/bin/bash ]; then ln -s bash $out/bin/sh; fi
