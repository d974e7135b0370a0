//! What a module's own documentation claims, and whether the measurements bear it out.

use meshbench::fabric::{NatTraversal, Reach, Role, Scenario};
use meshbench::module::spec::{Claims, Module};
use meshbench::report::Sign;
use meshbench::results::{ContractRecord, Finding, OverlayPath, Promise, names};

use crate::board::Board;
use crate::words::list;

/// What measurements say of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was seen to be so.
    Shown,
    /// It was seen not to be so.
    Refuted,
    /// Nothing was measured that could tell.
    Unmeasured,
    /// It is not claimed.
    Unclaimed,
}

/// A claim, and what was seen.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// What is claimed.
    pub(crate) title: &'static str,
    /// What measurements say.
    pub(crate) standing: Standing,
    /// What was seen.
    pub(crate) seen: String,
}

impl Standing {
    /// In the style sheet.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Refuted => "refuted",
            Self::Unmeasured => "unmeasured",
            Self::Unclaimed => "unclaimed",
        }
    }

    /// A sign, beside the colour.
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Self::Shown => Sign::Yes.text(),
            Self::Refuted => Sign::No.text(),
            Self::Unmeasured => Sign::Undecided.text(),
            Self::Unclaimed => Sign::Nothing.text(),
        }
    }
}

/// The claims of a module, in the order of the feature matrix.
pub(crate) fn claims(
    board: &Board<'_>,
    module: &Module,
    scenarios: &[Scenario],
    contracts: &[ContractRecord],
) -> Vec<Claim> {
    let claims = &module.spec.claims;
    let record = contracts.iter().find(|record| record.module == *module.name);
    let promise = |wanted: Promise| {
        let mut findings = record.into_iter().flat_map(|record| &record.findings);
        findings.find(|finding| finding.promise == wanted)
    };
    vec![
        encrypted(board, module, claims.encryption, promise(Promise::IsEncrypted)),
        on_networks(
            board,
            module,
            "NAT traversal",
            claims.nat_traversal != NatTraversal::None,
            |it| needs_traversal(it, scenarios, claims),
        ),
        on_networks(board, module, "relay", claims.relay, |it| needs_relay(it, scenarios, claims)),
        on_networks(board, module, "IPv6 underlay", claims.ipv6_underlay, |it| {
            let ipv6_only = |known: &Scenario| known.sites.iter().any(|site| !site.ipv4);
            known(it, scenarios).filter(|known| ipv6_only(known)).map(|_| Reach::Relayed)
        }),
        on_networks(board, module, "several coordinators", claims.several_coordinators, |it| {
            let several = |known: &&Scenario| coordinators(known) > 1;
            known(it, scenarios).filter(several).map(|_| Reach::Relayed)
        }),
        on_networks(board, module, "names for addresses", claims.names, |it| {
            let named = |known: &&Scenario| known.sites.iter().any(|it| it.dynamic_dns.is_some());
            known(it, scenarios).filter(named).map(|_| Reach::Relayed)
        }),
    ]
}

fn promised(title: &'static str, claimed: bool, finding: Option<&Finding>) -> Claim {
    let (standing, seen) = match finding {
        _ if !claimed => (Standing::Unclaimed, "not claimed".into()),
        Some(Finding { kept: Some(true), seen, .. }) => (Standing::Shown, seen.clone()),
        Some(Finding { kept: Some(false), seen, .. }) => (Standing::Refuted, seen.clone()),
        _ => (Standing::Unmeasured, "not measured".into()),
    };
    Claim { title, standing, seen }
}

/// By the contract, and by what was overheard on every network that this was listened to on.
fn encrypted(
    board: &Board<'_>,
    module: &Module,
    claimed: bool,
    finding: Option<&Finding>,
) -> Claim {
    let own = board.modules.iter().position(|it| it.name == *module.name);
    let overheard = board.rows.iter().filter(|row| row.workload == names::LEAK && row.weight > 0.0);
    let counts: Vec<(&str, f64)> = overheard
        .filter_map(|row| {
            let figure = &row.figures[own?];
            let factor = figure.factor.filter(|_| figure.measured() > 0)?;
            Some((board.scenarios[row.scenario].name.as_str(), factor))
        })
        .collect();
    let told: Vec<&str> = counts.iter().filter(|it| it.1 > 1.0).map(|it| it.0).collect();
    let claim = promised("encryption", claimed, finding);
    match (claimed, told.as_slice(), claim.standing) {
        (true, [_, ..], _) => Claim {
            standing: Standing::Refuted,
            seen: format!("sends in clear, or to strangers, on {}", list(&told)),
            ..claim
        },
        (true, [], Standing::Unmeasured) if !counts.is_empty() => Claim {
            standing: Standing::Shown,
            seen: "nothing in clear was overheard".into(),
            ..claim
        },
        _ => claim,
    }
}

/// A claim that shows in what a VPN reaches: `least` tells, for a network that the claim is needed on, what it must
/// reach there.
fn on_networks(
    board: &Board<'_>,
    module: &Module,
    title: &'static str,
    claimed: bool,
    least: impl Fn(&str) -> Option<Reach>,
) -> Claim {
    let (mut kept, mut broken) = (Vec::new(), Vec::new());
    for scenario in &board.scenarios {
        let Some(least) = least(&scenario.name) else { continue };
        let cells = board.cell(&scenario.name, meshbench::results::names::CONNECT, &module.name);
        let Some(newest) = cells.last() else { continue };
        let all = cells.iter().all(|cell| {
            let direct = cell.record.path != OverlayPath::Relayed;
            cell.record.outcome.is_ok() && (least != Reach::Direct || direct)
        });
        let name = newest.record.key.scenario.as_str();
        if all { kept.push(name) } else { broken.push(name) }
    }
    let (standing, seen) = match (claimed, kept.as_slice(), broken.as_slice()) {
        (false, [], _) => (Standing::Unclaimed, "not claimed".into()),
        (false, kept, _) => {
            (Standing::Unclaimed, format!("not claimed, and yet it works on {}", list(kept)))
        }
        (true, [], []) => (Standing::Unmeasured, "not measured".into()),
        (true, kept, []) => (Standing::Shown, format!("works on {}", list(kept))),
        (true, [], broken) => (Standing::Refuted, format!("does not work on {}", list(broken))),
        (true, kept, broken) => {
            (Standing::Refuted, format!("works on {}, but not on {}", list(kept), list(broken)))
        }
    };
    Claim { title, standing, seen }
}

fn coordinators(scenario: &Scenario) -> usize {
    scenario.machines.iter().filter(|machine| machine.role == Role::Coordinator).count()
}

fn known<'a>(name: &str, scenarios: &'a [Scenario]) -> Option<&'a Scenario> {
    scenarios.iter().find(|scenario| scenario.name == name)
}

/// Networks on which traversal reaches more than none does.
fn needs_traversal(name: &str, scenarios: &[Scenario], claims: &Claims) -> Option<Reach> {
    let expect = &known(name, scenarios)?.expect;
    let with = expect.outcome(claims.nat_traversal, false)?;
    let without = expect.outcome(NatTraversal::None, false);
    (without.is_some_and(|without| with > without)).then_some(with)
}

/// Networks on which only a relay reaches anything.
fn needs_relay(name: &str, scenarios: &[Scenario], claims: &Claims) -> Option<Reach> {
    let expect = &known(name, scenarios)?.expect;
    let with = expect.outcome(claims.nat_traversal, true)?;
    let without = expect.outcome(claims.nat_traversal, false);
    (with > without.unwrap_or(Reach::Unreachable)).then_some(with)
}
