//! The fabric machine: what it is prepared with, how it is told its plan.

use meshbench_protocol::{Namespace, Request};

use super::image::BEFORE_FORKS;
use crate::machine::{Machine, MachineError, PROMPT, Preparation};

/// Loads what plans use, and runs each program once so that forks find it in their page cache.
const SCRIPT: &str = "
# The queue of a card that is moved is made anew: it must not reorder or mark.
echo pfifo_fast >/proc/sys/net/core/default_qdisc
echo 5000 >/proc/sys/net/core/netdev_max_backlog
# By their place on the bus.
n=0
for card in $(ls -d /sys/bus/pci/devices/*/virtio*/net/* | sort); do
  ip link set ${card##*/} down name card$n address 52:54:00:00:02:$(printf %02x $n)
  n=$((n+1))
done
modprobe -a veth bridge sch_netem nf_tables nft_chain_nat nft_ct nft_masq nft_nat nft_hash nft_redir nf_conntrack
ip netns add warm
ip -n warm link set lo up
ip netns exec warm nft -f - <<'N'
table ip warm {
  map ports { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 9s; }
  chain nat { type nat hook postrouting priority srcnat; oifname \"wan\" masquerade; }
  chain in { type filter hook input priority 0; ct state new drop; }
}
N
ip link add warm0 type veth peer name warm1
ip link add warm2 type bridge
tc qdisc add dev warm0 root netem delay 1ms rate 1mbit
tc qdisc show >/dev/null
ip link delete warm0
ip link delete warm2
ip netns delete warm
conntrack -C >/dev/null || true
sync
";

/// The preparation of a fabric.
pub(super) fn fabric_preparation() -> Preparation {
    Preparation { files: Vec::new(), script: format!("{BEFORE_FORKS}{SCRIPT}") }
}

/// Makes the fabric's namespaces what the plan wants them to be.
pub(super) async fn applied(
    fabric: &Machine,
    namespaces: Vec<Namespace>,
) -> Result<(), MachineError> {
    let request = Request::Network(namespaces);
    fabric.request("applying the network", &request, None, PROMPT * 2).await.map(drop)
}
