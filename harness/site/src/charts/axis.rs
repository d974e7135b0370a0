//! From values to places, with marks that people can read.

use meshbench::report::table::humanise;
use meshbench::results::Unit;

use super::svg::Svg;

/// A scale along one side of a drawing.
pub(crate) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Axis {
    /// For these values, from one place to another. What spans more than a factor of thirty is drawn by its
    /// logarithm.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let (mut low, mut high, mut positive) = (f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
            if value > 0.0 {
                positive = positive.min(value);
            }
        }
        if low > high {
            return None;
        }
        let log = low > 0.0 && high / low > 30.0;
        if log {
            return Some(Self { low: low * 0.9, high: high * 1.1, log, from, to });
        }
        let room = match high - low {
            0.0 if high == 0.0 => 1.0,
            0.0 => high.abs() * 0.1,
            range => range * 0.06,
        };
        // A scale that nearly begins at nothing begins there, so that lengths are true.
        let low = if low >= 0.0 && low < high * 0.7 { 0.0 } else { low - room };
        Some(Self { low, high: high + room, log, from, to })
    }

    /// The place of a value.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Values that are worth a mark.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
            let all = decades.flat_map(|decade| [1.0, 3.0].map(|step| step * 10f64.powi(decade)));
            let inside: Vec<f64> =
                all.filter(|tick| (self.low..=self.high).contains(tick)).collect();
            let every = inside.len().div_ceil(6).max(1);
            return inside.into_iter().step_by(every).collect();
        }
        let rough = (self.high - self.low) / 5.0;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|it| it * magnitude).into_iter().find(|it| *it >= rough);
        let step = step.unwrap_or(rough);
        // Between numbers that nothing lies between there are no marks.
        if !step.is_normal() {
            return Vec::new();
        }
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|at| at as f64 * step).collect()
    }

    /// Draws the marks of a horizontal scale, with lines from `top` to `bottom`.
    pub(crate) fn draw(&self, svg: &mut Svg, unit: Unit, top: f64, bottom: f64) {
        for tick in self.ticks() {
            let x = self.at(tick);
            svg.line("grid", (x, top), (x, bottom));
            svg.text("tick mid", (x, bottom + 14.0), &humanise(tick, unit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_inside() {
        let axis = Axis::of([12.0, 97.0], 0.0, 100.0).unwrap();
        assert_eq!(axis.ticks(), [0.0, 50.0, 100.0]);
        assert_eq!(axis.at(0.0), 0.0);
        assert!(Axis::of([], 0.0, 1.0).is_none());
    }

    #[test]
    fn numbers_at_the_ends_of_what_there_is_have_no_more_marks_than_others() {
        for values in [[0.0, 5e-324], [5e-324, 1e-323], [-f64::MAX, f64::MAX], [1e308, f64::MAX]] {
            let axis = Axis::of(values, 0.0, 100.0).unwrap();
            assert!(axis.ticks().len() < 20, "{values:?}");
        }
    }

    #[test]
    fn wide_ranges_are_drawn_by_logarithm_and_equal_values_have_a_place() {
        let axis = Axis::of([1.0, 1000.0], 0.0, 100.0).unwrap();
        assert!((axis.at(31.6) - 50.0).abs() < 2.0);
        let one = Axis::of([5.0, 5.0], 0.0, 100.0).unwrap();
        assert!((one.at(5.0) - 50.0).abs() < 50.0);
        assert!(Axis::of([f64::NAN], 0.0, 1.0).is_none());
    }
}
