use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FORMAT, MOST_BLOCKS, StoreError, Unit, check_format, check_name, check_number, file};

/// Name of the file, beside `run.json`.
pub const NOISE: &str = "noise.json";

/// `noise.json`: what measuring one thing twice shows anyway, found by `bench noise`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoiseRecord {
    /// Version of the format, [`FORMAT`](super::FORMAT).
    pub format: u32,
    /// The two that are one thing: runs, or `RUN/MODULE`.
    pub of: [String; 2],
    /// The floor of each metric.
    pub floors: Vec<NoiseFloor>,
}

/// The noise floor of a metric: the farther end of the 95 % interval of the difference between the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoiseFloor {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the workload.
    pub workload: String,
    /// Name of the module.
    pub module: String,
    /// Name of the metric.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// As a share: 0.03 is 3 %. Absent where the metric was zero in a block.
    pub relative: Option<f64>,
    /// In the unit, where it was.
    pub absolute: Option<f64>,
    /// Blocks on the side that has fewer.
    pub blocks: u32,
}

impl NoiseRecord {
    /// A record of these floors.
    pub fn new(of: [String; 2], floors: Vec<NoiseFloor>) -> Self {
        Self { format: FORMAT, of, floors }
    }

    /// The floor of a metric: the module's own, else the largest of any module.
    pub fn floor(&self, cell: [&str; 3], metric: &str) -> Option<&NoiseFloor> {
        let [scenario, workload, module] = cell;
        let same = |floor: &&NoiseFloor| {
            floor.scenario == scenario && floor.workload == workload && floor.metric == metric
        };
        let all = || self.floors.iter().filter(same);
        let size = |floor: &NoiseFloor| floor.relative.or(floor.absolute).unwrap_or(0.0);
        all()
            .find(|floor| floor.module == module)
            .or_else(|| all().max_by(|a, b| size(a).total_cmp(&size(b))))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        check_format(self.format)?;
        for floor in &self.floors {
            for name in [&floor.scenario, &floor.workload, &floor.module, &floor.metric] {
                check_name(name)?;
            }
            let sound =
                |value: Option<f64>| value.is_none_or(|it| check_number(it).is_ok() && it >= 0.0);
            if !sound(floor.relative) || !sound(floor.absolute) {
                return Err(format!("the floor of {} is not a share", floor.metric));
            }
            if floor.blocks > MOST_BLOCKS {
                let (metric, blocks) = (&floor.metric, floor.blocks);
                return Err(format!(
                    "the floor of {metric} is of {blocks} blocks, which no run has"
                ));
            }
        }
        Ok(())
    }
}

/// Reads the noise floor that is stored with a run, if one is.
///
/// # Errors
/// If the file cannot be read or does not hold what it should; names file, line and reason.
pub fn load_noise(dir: &Path) -> Result<Option<NoiseRecord>, StoreError> {
    let path = dir.join(NOISE);
    if !path.exists() {
        return Ok(None);
    }
    let record: NoiseRecord = file::parse(&path)?;
    record.check().map_err(|reason| StoreError::Malformed {
        path: path.clone(),
        line: None,
        reason,
    })?;
    Ok(Some(record))
}

/// Stores a noise floor with a run, in place of an earlier one.
///
/// # Errors
/// If the record is unsound or a file operation fails.
pub fn save_noise(dir: &Path, record: &NoiseRecord) -> Result<(), StoreError> {
    record.check().map_err(|reason| StoreError::Unsound { what: NOISE.into(), reason })?;
    file::write_json(&dir.join(NOISE), record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(module: &str, relative: f64) -> NoiseFloor {
        NoiseFloor {
            scenario: "lan".into(),
            workload: "tcp".into(),
            module: module.into(),
            metric: "goodput".into(),
            unit: Unit::BitsPerSecond,
            relative: Some(relative),
            absolute: None,
            blocks: 7,
        }
    }

    #[test]
    fn what_is_stored_is_read_back_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load_noise(dir.path()).unwrap(), None);
        let record = NoiseRecord::new(["a".into(), "b".into()], vec![floor("nebula", 0.03)]);
        save_noise(dir.path(), &record).unwrap();
        assert_eq!(load_noise(dir.path()).unwrap(), Some(record.clone()));
        let mut wrong = record;
        for relative in [-0.1, 1e300, f64::NAN] {
            wrong.floors[0].relative = Some(relative);
            assert!(save_noise(dir.path(), &wrong).is_err(), "{relative}");
        }
        wrong.floors[0].relative = Some(0.1);
        wrong.floors[0].blocks = u32::MAX;
        assert!(save_noise(dir.path(), &wrong).is_err());
        std::fs::write(dir.path().join(NOISE), "{\n}").unwrap();
        assert!(load_noise(dir.path()).unwrap_err().to_string().contains("noise.json:2"));
    }

    #[test]
    fn a_module_without_a_floor_of_its_own_has_the_largest() {
        let floors = vec![floor("nebula", 0.03), floor("tinc", 0.08)];
        let record = NoiseRecord::new(["a".into(), "b".into()], floors);
        let of = |module| record.floor(["lan", "tcp", module], "goodput").unwrap().relative;
        assert_eq!((of("nebula"), of("wireguard")), (Some(0.03), Some(0.08)));
        assert_eq!(record.floor(["lan", "ping", "nebula"], "goodput"), None);
    }
}
