//! How good the methods are, by simulation: how often an interval holds what it should, how often things
//! that are one are called two, how often a number of blocks that was said to be enough is.
//!
//! `cargo run --release --example coverage` prints the table that the README shows.

use super::rng::SplitMix;
use super::{
    Comparison, Judged, Rules, SIGNIFICANT, Sides, Verdict, alpha_of_look, blocks_needed,
    median_interval, next_look, together,
};

/// How a figure varies from block to block. Its median is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Noise {
    /// Normal, of 5 %: a rate on a quiet host.
    Normal,
    /// A least value and an exponential excess, of 25 %: a latency.
    Skewed,
    /// Student's with 2 degrees of freedom, of 3 %, in logarithms: a host that is busy at times.
    Heavy,
    /// One of five blocks at half the speed, else 1 %: a VPN that is relayed at times.
    Twofold,
}

impl Noise {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Skewed, Self::Heavy, Self::Twofold];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Skewed => "skewed",
            Self::Heavy => "heavy-tailed",
            Self::Twofold => "twofold",
        }
    }
}

/// A source of such figures, the same for the same seed.
pub struct Source {
    noise: Noise,
    rng: SplitMix,
    middle: f64,
}

impl Source {
    /// Of this noise.
    pub fn new(noise: Noise, seed: u64) -> Self {
        // The slow blocks push the median to the 37.5th percentile of the fast ones.
        let middle = if noise == Noise::Twofold { (-0.318_64_f64 * 0.01).exp() } else { 1.0 };
        Self { noise, rng: SplitMix::new(seed), middle }
    }

    /// The figures of `count` blocks.
    pub fn blocks(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.figure()).collect()
    }

    fn figure(&mut self) -> f64 {
        match self.noise {
            Noise::Normal => (1.0 + 0.05 * self.normal()).max(0.05),
            Noise::Skewed => 1.0 + 0.25 * (-self.unit().ln() - std::f64::consts::LN_2),
            Noise::Heavy => {
                let chi = -self.unit().ln();
                (0.03 * self.normal() / chi.sqrt()).exp()
            }
            Noise::Twofold => {
                let slow = self.unit() < 0.2;
                (0.01 * self.normal()).exp() * if slow { 0.5 } else { 1.0 } / self.middle
            }
        }
    }

    /// Above 0, at most 1.
    fn unit(&mut self) -> f64 {
        ((self.rng.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

/// What a simulation found for a kind of noise and a number of blocks; all are shares of the trials.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// The interval of a median held it.
    pub median: f64,
    /// The interval of the ratio of two runs of one thing held 1.
    pub groups: f64,
    /// The interval of the ratio of two modules of a run, which share half of their noise, held 1.
    pub pairs: f64,
    /// A difference was called between two runs of one thing, by one line alone.
    pub false_alone: f64,
    /// The same of two modules of one run.
    pub false_pairs: f64,
    /// At least one was called between two runs, among [`LINES`] lines.
    pub false_among: f64,
}

/// Lines that [`simulate`] corrects for: about what one VPN has on three scenarios.
pub const LINES: usize = 30;

/// Tries it so often.
pub fn simulate(noise: Noise, blocks: usize, trials: usize, seed: u64) -> Found {
    let mut source = Source::new(noise, seed);
    let mut share = |hit: &mut dyn FnMut(&mut Source) -> bool, trials: usize| {
        (0..trials).filter(|_| hit(&mut source)).count() as f64 / trials as f64
    };
    let holds = |sides: Sides| {
        let interval = sides.effect().and_then(|effect| effect.interval);
        interval.is_some_and(|[low, high]| low <= 0.0 && 0.0 <= high)
    };
    Found {
        median: share(
            &mut |source| {
                let interval = median_interval(&source.blocks(blocks));
                interval.is_some_and(|it| it.low <= 1.0 && 1.0 <= it.high)
            },
            trials,
        ),
        groups: share(&mut |source| holds(same(source, blocks)), trials),
        pairs: share(&mut |source| holds(paired(source, blocks)), trials),
        false_alone: share(&mut |source| called(source, blocks, 1, same), trials),
        false_pairs: share(&mut |source| called(source, blocks, 1, paired), trials),
        false_among: share(&mut |source| called(source, blocks, LINES, same), trials / 3),
    }
}

/// Two runs of one thing.
fn same(source: &mut Source, blocks: usize) -> Sides {
    Sides::Groups(source.blocks(blocks), source.blocks(blocks))
}

/// Two modules of one run: each block disturbs both alike, besides what disturbs each alone.
fn paired(source: &mut Source, blocks: usize) -> Sides {
    let shared = source.blocks(blocks);
    let mut side = || -> Vec<f64> {
        source.blocks(blocks).iter().zip(&shared).map(|(own, shared)| own * shared).collect()
    };
    let (values, baseline) = (side(), side());
    Sides::Pairs(values.into_iter().zip(baseline).collect())
}

/// Whether any of `lines` comparisons of one thing with itself is called a difference, whatever its size.
fn called(
    source: &mut Source,
    blocks: usize,
    lines: usize,
    make: fn(&mut Source, usize) -> Sides,
) -> bool {
    let rules = Rules { lines, floor: 0.0, ..Rules::default() };
    let sides: Vec<Sides> = (0..lines).map(|_| make(source, blocks)).collect();
    let p: Vec<f64> = sides.iter().filter_map(|it| it.test(&rules)).map(|(_, p)| p).collect();
    let differs = |(sides, p): (&Sides, f64)| {
        let verdict = || sides.verdict(Some(p), &rules);
        p < rules.alpha && matches!(verdict(), Verdict::Larger | Verdict::Smaller)
    };
    sides.iter().zip(super::ranks::holm(&p)).any(differs)
}

/// A gate that adds blocks until it knows, as `bench gate --minutes` does.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// Metrics of the two things.
    pub lines: usize,
    /// How many of them are slower by exactly the margin; the others are not at all.
    pub worse: usize,
    /// Whether blocks of one number share half of their noise, as those of one seed in virtual time do.
    pub paired: bool,
    /// Blocks a side at most.
    pub most: u32,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gated {
    /// Whether it said that something is worse by the margin; `None` where it did not know in the end.
    pub regression: Option<bool>,
    /// Whether any look cleared a metric that is worse by the margin.
    pub cleared: bool,
    /// Blocks a side in the end.
    pub blocks: u32,
}

impl Gate {
    /// Begins with 5 blocks a side, looks, and adds blocks as [`next_look`] says.
    pub fn run(&self, source: &mut Source) -> Gated {
        let mut values = vec![(Vec::new(), Vec::new()); self.lines];
        let (mut blocks, mut cleared) = (5, false);
        for look in 1.. {
            self.measure(source, &mut values, blocks);
            let alpha = alpha_of_look(SIGNIFICANT, look);
            let rules = Rules { lines: self.lines, alpha, ..Rules::default() };
            let sides: Vec<Sides> = values.iter().map(|it| self.sides(it)).collect();
            let judged = judged(&sides, rules);
            cleared |= judged.iter().take(self.worse).any(|it| it.no_worse);
            let ended = |regression| Gated { regression, cleared, blocks };
            if sides.iter().zip(&judged).any(|(sides, it)| is_regression(sides, it)) {
                return ended(Some(true));
            }
            let open = sides.iter().zip(&judged).filter(|(_, it)| is_open(it));
            let open: Vec<&Sides> = open.map(|(sides, _)| sides).collect();
            if open.is_empty() {
                return ended(Some(false));
            }
            let need = |sides: &&Sides| blocks_needed(sides, false, open.len(), &rules);
            let needs: Vec<Option<usize>> = open.iter().map(need).collect();
            match next_look(blocks, &needs, self.most) {
                Some(next) => blocks = next,
                None => return ended(None),
            }
        }
        Gated { regression: None, cleared, blocks }
    }

    /// Figures of each line until there are so many blocks.
    fn measure(&self, source: &mut Source, values: &mut [(Vec<f64>, Vec<f64>)], blocks: u32) {
        for (line, (after, before)) in values.iter_mut().enumerate() {
            let factor = if line < self.worse { 1.0 - Rules::default().margin } else { 1.0 };
            for _ in after.len()..blocks as usize {
                let shared = if self.paired { source.figure() } else { 1.0 };
                after.push(source.figure() * shared * factor);
                before.push(source.figure() * shared);
            }
        }
    }

    fn sides(&self, (after, before): &(Vec<f64>, Vec<f64>)) -> Sides {
        if self.paired {
            Sides::Pairs(after.iter().copied().zip(before.iter().copied()).collect())
        } else {
            Sides::Groups(after.clone(), before.clone())
        }
    }
}

fn judged(sides: &[Sides], rules: Rules) -> Vec<Judged> {
    let asked = sides.iter().map(|sides| Comparison { sides, rules, larger_is_worse: false });
    together(&asked.collect::<Vec<_>>())
}

fn is_regression(sides: &Sides, judged: &Judged) -> bool {
    let change = || sides.effect().map_or(0.0, |effect| effect.change.exp_m1());
    judged.verdict == Verdict::Smaller && change() <= -Rules::default().margin
}

fn is_open(judged: &Judged) -> bool {
    !judged.no_worse && matches!(judged.verdict, Verdict::Smaller | Verdict::Undecided)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn intervals_hold_and_differences_are_false_as_often_as_they_say(
        #[values(Noise::Normal, Noise::Skewed, Noise::Heavy, Noise::Twofold)] noise: Noise,
        #[values(3, 5, 7, 10)] blocks: usize,
    ) {
        let found = simulate(noise, blocks, 300, 1);
        // 95 %, less three standard deviations of 300 trials and what skewness does.
        for held in [found.median, found.groups, found.pairs] {
            assert!(held > 0.90, "{found:?}");
        }
        assert!(found.false_alone.max(found.false_pairs) < 0.09, "{found:?}");
        assert!(found.false_among < 0.12, "{found:?}");
    }

    /// 5 % of 60 trials, and three standard deviations of that.
    const MOST_WRONG: usize = 8;

    #[rstest]
    fn a_gate_is_wrong_as_seldom_as_it_says_however_often_it_looks(
        #[values(Noise::Normal, Noise::Skewed, Noise::Heavy, Noise::Twofold)] noise: Noise,
        #[values(false, true)] paired: bool,
    ) {
        let mut source = Source::new(noise, 1);
        let mut count = |worse: usize, wrong: &dyn Fn(&Gated) -> bool| {
            let gate = Gate { lines: 2, worse, paired, most: 20 };
            (0..60).filter(|_| wrong(&gate.run(&mut source))).count()
        };
        let alarms = count(0, &|it| it.regression == Some(true));
        let missed = count(1, &|it| it.regression == Some(false));
        let cleared = count(2, &|it| it.cleared);
        assert!(alarms.max(missed).max(cleared) <= MOST_WRONG, "{alarms} {missed} {cleared}");
    }

    #[test]
    fn a_gate_knows_more_often_than_not_that_one_thing_is_one() {
        let mut source = Source::new(Noise::Normal, 1);
        let gate = Gate { lines: 1, worse: 0, paired: false, most: 60 };
        let told = (0..40).filter(|_| gate.run(&mut source).regression == Some(false)).count();
        assert!(told > 20, "{told} of 40");
    }
}
