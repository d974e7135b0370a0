//! What members of a cluster are prepared with.

use crate::machine::Preparation;

/// What every fork does first, made ready in the template. The files of an identity are out of the read-only
/// layers, from where the first write would copy them; there is something over the kernel's boot id; and the
/// agent, which is the parent of this script, is in the page cache. Each costs a fork 10 to 30 ms.
pub(super) const BEFORE_FORKS: &str = "
: >/etc/hostname
: >/etc/hosts
id=$(cat /etc/machine-id)
echo $id >/etc/machine-id
cat /proc/sys/kernel/random/boot_id >/run/meshbench-boot-id
mount --bind /run/meshbench-boot-id /proc/sys/kernel/random/boot_id
cat /proc/$PPID/exe >/dev/null
";

/// Programs that every cluster runs first: read once in the template, they are in the page cache
/// of every fork.
const WARM_UP: &str = "
mkdir -p /etc/systemd/system/meshbench.target.wants
ip -batch /dev/null
ip address >/dev/null
echo '{}' | jq . >/dev/null
# Elsewhere: what a namespace numbers its packets with is drawn at its first one, and would be all forks'.
unshare -n sh -c 'ip link set lo up; ping -c 1 -W 1 127.0.0.1' >/dev/null || true
iperf3 --version >/dev/null
";

/// A Debian guest starts none of what systemd starts early at boot.
const LOAD_AT_BOOT: &str = "
unit=/usr/lib/systemd/system/systemd-modules-load.service
test ! -e $unit || ln -sf $unit /etc/systemd/system/meshbench.target.wants/
";

/// The preparation of a member that nothing runs on yet.
pub fn member_preparation(kernel_modules: &[String]) -> Preparation {
    let mut script = format!("{BEFORE_FORKS}{WARM_UP}");
    for module in kernel_modules {
        script.push_str(&format!("modprobe {module}\n"));
    }
    if !kernel_modules.is_empty() {
        script.push_str(LOAD_AT_BOOT);
    }
    script.push_str("sync\n");
    Preparation {
        files: vec![(
            "/etc/modules-load.d/meshbench.conf".into(),
            0o644,
            kernel_modules.join("\n") + "\n",
        )],
        script,
    }
}
