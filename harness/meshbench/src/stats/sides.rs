use super::ranks::{
    Welch, beyond_shift_interval, smallest_mann_whitney, smallest_sign_flip, student_test,
    welch_test,
};
use super::summary::{
    Interval, LEVEL, MIN_INTERVAL_SAMPLES, interpolated, median_interval, moments, quantile,
    student, student_quantile,
};

/// The two things compared: one number per block.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Sides {
    /// Value and baseline, measured in the same blocks: what disturbs a block as a whole cancels out.
    Pairs(Vec<(f64, f64)>),
    /// Values, and a baseline measured in other blocks, as those of another run are.
    Groups(Vec<f64>, Vec<f64>),
}

/// By how much values differ from their baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// Whether the numbers are logarithms of ratios; else they are differences, because something is
    /// zero.
    pub relative: bool,
    /// The median change of a block, of pairs; the median of all changes from a baseline's value to
    /// another, of groups (Hodges and Lehmann).
    pub change: f64,
    /// Its interval (95 %).
    pub interval: Option<[f64; 2]>,
}

/// A value as a multiple of its baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The median ratio.
    pub median: f64,
    /// Its 95 % interval; `None` below [`MIN_INTERVAL_SAMPLES`] blocks.
    pub interval: Option<Interval>,
}

impl Sides {
    /// By how much they differ. `None` where a side is empty or a value is not finite.
    pub fn effect(&self) -> Option<Effect> {
        if !self.sound() {
            return None;
        }
        let (change, few) = (self.change()?, self.fewest() < MIN_INTERVAL_SAMPLES);
        let interval =
            || self.interval_of_ranks(1.0 - LEVEL).or_else(|| self.interval_of_means(1.0 - LEVEL));
        let interval = if few { None } else { interval() };
        let interval = interval.map(|[low, high]| [low.min(change), high.max(change)]);
        Some(Effect { relative: self.relative(), change, interval })
    }

    /// Values on the side that has fewer.
    pub fn fewest(&self) -> usize {
        match self {
            Self::Pairs(pairs) => pairs.len(),
            Self::Groups(values, baseline) => values.len().min(baseline.len()),
        }
    }

    /// The standard deviation of a change from block to block, for [`blocks_needed`](super::blocks_needed):
    /// of a pair's change, or of both groups together.
    pub(super) fn spread(&self) -> Option<f64> {
        let relative = self.relative();
        match self {
            Self::Pairs(_) => moments(&self.changes()).map(|(_, deviation)| deviation),
            Self::Groups(values, baseline) => {
                let deviation = |side: &[f64]| moments(&scaled(side, relative)).map(|it| it.1);
                let (one, other) = (deviation(values)?, deviation(baseline)?);
                let (n, m) = (values.len() as f64 - 1.0, baseline.len() as f64 - 1.0);
                Some(((n * one.powi(2) + m * other.powi(2)) / (n + m)).sqrt())
            }
        }
    }

    /// The smallest p-value that its rank test can give with so many values.
    pub(super) fn smallest(&self) -> f64 {
        match self {
            Self::Pairs(pairs) => smallest_sign_flip(pairs.len()),
            Self::Groups(values, baseline) => smallest_mann_whitney(values.len(), baseline.len()),
        }
    }

    /// The same with `count` values on each side.
    pub(super) fn smallest_of(&self, count: usize) -> f64 {
        match self {
            Self::Pairs(_) => smallest_sign_flip(count),
            Self::Groups(..) => smallest_mann_whitney(count, count),
        }
    }

    /// Whether no value is there twice: of what comes in steps (losses, retransmits) Student's test says
    /// far too much.
    pub(super) fn continuous(&self) -> bool {
        let distinct = |side: &[f64]| {
            let mut sorted = side.to_vec();
            sorted.sort_unstable_by(f64::total_cmp);
            sorted.windows(2).all(|two| two[0] < two[1])
        };
        self.relative()
            && match self {
                Self::Pairs(pairs) => {
                    let (values, baseline): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
                    distinct(&values) && distinct(&baseline)
                }
                Self::Groups(values, baseline) => distinct(values) && distinct(baseline),
            }
    }

    pub(super) fn student(&self) -> Option<f64> {
        match self {
            Self::Pairs(_) => student_test(&self.changes()),
            Self::Groups(values, baseline) => {
                welch_test(&scaled(values, true), &scaled(baseline, true))
            }
        }
    }

    /// The median change of a block, of pairs; of groups the median of all changes from one to another.
    pub(super) fn change(&self) -> Option<f64> {
        if !self.sound() {
            return None;
        }
        match self {
            Self::Pairs(_) => quantile(&self.changes(), 0.5),
            Self::Groups(..) => quantile(&self.shifts(), 0.5),
        }
    }

    /// Of pairs the interval between order statistics, as for a median; of groups the one that the rank-sum test
    /// gives. `None` where so few values cannot reach 1 - `alpha`.
    pub(super) fn interval_of_ranks(&self, alpha: f64) -> Option<[f64; 2]> {
        match self {
            Self::Pairs(_) => {
                let mut changes = self.changes();
                changes.sort_unstable_by(f64::total_cmp);
                interpolated(&changes, 1.0 - alpha)
            }
            Self::Groups(values, baseline) => {
                let beyond = beyond_shift_interval(values.len(), baseline.len(), alpha)?;
                let mut shifts = self.shifts();
                shifts.sort_unstable_by(f64::total_cmp);
                Some([shifts[beyond], shifts[shifts.len() - 1 - beyond]])
            }
        }
    }

    /// Student's interval of pairs, Welch's of groups.
    pub(super) fn interval_of_means(&self, alpha: f64) -> Option<[f64; 2]> {
        match self {
            Self::Pairs(_) => student(&self.changes(), 1.0 - alpha),
            Self::Groups(values, baseline) => {
                let relative = self.relative();
                let welch = Welch::of(&scaled(values, relative), &scaled(baseline, relative))?;
                let half = student_quantile(1.0 - alpha / 2.0, welch.freedom)? * welch.error;
                Some([welch.difference - half, welch.difference + half])
            }
        }
    }

    /// All changes from a value of the baseline to another one.
    fn shifts(&self) -> Vec<f64> {
        let relative = self.relative();
        match self {
            Self::Pairs(_) => Vec::new(),
            Self::Groups(values, baseline) => {
                let (values, baseline) = (scaled(values, relative), scaled(baseline, relative));
                values
                    .iter()
                    .flat_map(|value| baseline.iter().map(move |base| value - base))
                    .collect()
            }
        }
    }

    pub(super) fn sound(&self) -> bool {
        self.fewest() > 0 && self.all(f64::is_finite)
    }

    /// Whether ratios exist; noise in rates and times is relative.
    pub(super) fn relative(&self) -> bool {
        self.all(|value| value > 0.0)
    }

    fn all(&self, is: impl Fn(f64) -> bool) -> bool {
        match self {
            Self::Pairs(pairs) => pairs.iter().all(|&(value, baseline)| is(value) && is(baseline)),
            Self::Groups(values, baseline) => values.iter().chain(baseline).all(|&value| is(value)),
        }
    }

    /// Of each pair: the logarithm of its ratio, or the difference.
    pub(super) fn changes(&self) -> Vec<f64> {
        let relative = self.relative();
        let change = |&(value, baseline): &(f64, f64)| {
            if relative { (value / baseline).ln() } else { value - baseline }
        };
        match self {
            Self::Pairs(pairs) => pairs.iter().map(change).collect(),
            Self::Groups(..) => Vec::new(),
        }
    }
}

impl Effect {
    /// As a multiple of the baseline; `None` where it is no ratio.
    pub fn ratio(&self) -> Option<Ratio> {
        let interval = self.interval.map(|[low, high]| Interval {
            low: low.exp(),
            high: high.exp(),
            level: LEVEL,
        });
        self.relative.then_some(Ratio { median: self.change.exp(), interval })
    }
}

/// The ratio of each pair (`value`, `baseline`) of one block, and the interval of their median. `None`
/// without pairs, or if a ratio has no meaning: a baseline of zero (0 % loss), a negative or not finite
/// number.
pub fn ratio_to(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let sound = |&(value, baseline): &(f64, f64)| {
        value >= 0.0 && baseline > 0.0 && (value / baseline).is_finite()
    };
    if !pairs.iter().all(sound) {
        return None;
    }
    let ratios: Vec<f64> = pairs.iter().map(|(value, baseline)| value / baseline).collect();
    Some(Ratio { median: quantile(&ratios, 0.5)?, interval: median_interval(&ratios) })
}

fn scaled(values: &[f64], relative: bool) -> Vec<f64> {
    values.iter().map(|value| if relative { value.ln() } else { *value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drift_that_both_share_leaves_the_ratio_exact() {
        let ratio = ratio_to(&[(50.0, 100.0), (100.0, 200.0), (10.0, 20.0)]).unwrap();
        let interval = ratio.interval.unwrap();
        assert_eq!((ratio.median, interval.low, interval.high), (0.5, 0.5, 0.5));
        let ratio = ratio_to(&[(1.0, 2.0), (3.0, 2.0)]).unwrap();
        assert_eq!((ratio.median, ratio.interval), (1.0, None));
    }

    #[test]
    fn no_ratio_to_a_baseline_of_zero() {
        assert_eq!(ratio_to(&[(1.0, 1.0), (1.0, 0.0)]), None);
        assert_eq!(ratio_to(&[]), None);
        assert!(ratio_to(&[(0.0, 2.0)]).is_some_and(|ratio| ratio.median == 0.0));
    }
}
