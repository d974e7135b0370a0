# Runs as a hook of mmdebstrap, as root of (at least) its own user namespace; $1 is the guest's root.
# Leaves in $1/meshbench-out: base.erofs modules.erofs modules/ vmlinuz release status lists/ packages libraries
set -eu
PATH=$PATH:/usr/sbin:/sbin
root=$1
out=$root/meshbench-out
units=$root/usr/lib/systemd/system
mkdir "$out" "$out/staging"
# -T, -U: the same packages give the same bytes. -x-1: without extended attributes, for which mkfs.erofs 1.5 would
# look in the excluded directories too; all that a guest runs is root's. Padded, as a sealed machine has them as memory.
erofs() {
    mkfs.erofs -x-1 -T1 -U00000000-0000-0000-0000-000000000000 --quiet "$@"
    for image; do
        case $image in
        *.erofs) truncate -s %2M "$image" ;;
        esac
    done
}

# The kernel, unpacked and not installed: its scripts would build an initrd.
cd "$out/staging"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
package=$(apt-cache depends --important "$MESHBENCH_KERNEL" | sed -n 's/^ *Depends: *\(linux-image-[^ ]*\)$/\1/p' | head -n 1)
[ -n "$package" ] || { echo "$MESHBENCH_KERNEL depends on no linux-image package" >&2; exit 1; }
apt-get -q download "$package"
dpkg-deb -x "$package"_*.deb kernel
dpkg-deb -W --showformat '${Package}\t${Version}\n' "$package"_*.deb >"$out/packages"
mv kernel/boot/vmlinuz-* "$out/vmlinuz"
tree=kernel/usr/lib/modules
[ -d "$tree" ] || tree=kernel/lib/modules
release=$(ls "$tree")
echo "$release" >"$out/release"
# Drivers of hardware that the machines lack, and file systems that no test mounts.
for waste in drivers/ata drivers/comedi drivers/gpu drivers/hid drivers/hv drivers/infiniband drivers/input \
    drivers/md drivers/media drivers/nvme drivers/scsi drivers/target drivers/thermal \
    drivers/usb drivers/xen fs/bcachefs fs/btrfs fs/ceph fs/f2fs fs/gfs2 fs/jfs fs/nfs fs/nfsd fs/nls \
    fs/ntfs3 fs/ocfs2 fs/smb fs/udf fs/xfs net/ceph net/rds net/smc net/sunrpc sound; do
    rm -rf "$tree/$release/kernel/$waste"
done
mv "$tree" "$root/usr/lib/modules"
chroot "$root" depmod "$release"
# The mount points lie here: an ordinary user's hook sees those of the root as another's.
mkdir -p layer/usr/lib layer/proc layer/sys
mv "$root/usr/lib/modules" layer/usr/lib/modules
chown -R 0:0 layer
erofs "$out/modules.erofs" layer
mv layer/usr/lib/modules "$out/modules"
cd /

# What later layers are resolved and checked against.
cp "$root/var/lib/dpkg/status" "$out/status"
chroot "$root" dpkg-query -W -f '${Package}\t${Version}\n' >>"$out/packages"
find "$root"/usr/lib* -maxdepth 2 -name '*.so*' -printf '%f\n' >"$out/libraries"
rm -rf "$root/var/lib/apt/lists/partial" "$root/var/lib/apt/lists/lock"
mv "$root/var/lib/apt/lists" "$out/lists"

# Boot: only the agent. No stock unit starts, no generator looks for some. Debian's own sysctl files set nothing of
# the network, so none are read.
rm -rf "$units"/*.wants "$root"/etc/systemd/system/*.wants "$root"/usr/lib/systemd/*-generators
for unit in systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket \
    systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket tmp.mount; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
cat >"$units/meshbench.target" <<'UNIT'
[Unit]
Description=meshbench machine
DefaultDependencies=no
Wants=basic.target meshbench-agent.service
After=basic.target
AllowIsolate=yes
UNIT
ln -sf meshbench.target "$units/default.target"
rm -f "$root/etc/systemd/system/default.target"
mkdir -p "$root/etc/systemd/system.conf.d"
cat >"$root/etc/systemd/system.conf.d/meshbench.conf" <<'CONF'
[Manager]
LogTarget=kmsg
LogLevel=warning
ShowStatus=no
DefaultStandardOutput=null
DefaultStandardError=null
CONF

# Nothing of this host, and nothing that two machines must not share.
: >"$root/etc/machine-id"
: >"$root/etc/resolv.conf"
echo machine >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
chmod 644 "$root/etc/hostname" "$root/etc/resolv.conf"
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"
rm -rf "$root"/etc/apt/sources.list* "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap \
    "$root"/etc/*- "$root"/var/lib/dpkg/*-old "$root"/var/cache/* "$root"/var/log/* "$root"/usr/lib/udev/hwdb*
rm -rf "$out/staging"
erofs --exclude-regex='^((proc|sys)$|(dev|run|tmp)/.+)' --exclude-path=meshbench-out "$out/base.erofs" "$root"
chmod -R a+rX "$out"
