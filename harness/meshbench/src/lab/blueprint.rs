use std::sync::Arc;

use crate::cluster::Blueprint;
use crate::fabric::{Plan, Scenario};
use crate::guest::GuestImage;
use crate::module::spec::Module;
use crate::module::{fit, lifecycle};

/// The guests of a cluster.
#[derive(Debug, Clone)]
pub struct Images {
    /// What the fabric boots.
    pub fabric: Arc<GuestImage>,
    /// What the members boot.
    pub member: Arc<GuestImage>,
}

/// A scenario's network as a module meets it.
pub(crate) fn network(scenario: &Scenario, module: &Module, seed: u64) -> Plan {
    Plan::new(&fit::as_met(scenario, module), seed)
}

/// The parts of a cluster that is a scenario's network as a module meets it.
pub fn blueprint(scenario: &Scenario, module: &Module, images: Images, seed: u64) -> Blueprint {
    Blueprint {
        plan: network(scenario, module, seed),
        fabric_image: images.fabric,
        member_image: images.member,
        preparation: lifecycle::preparation(&module.spec.software.debian.kernel_modules),
    }
}
