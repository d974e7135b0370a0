//! Runs that nobody measured, for commands that work on files alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{Ended, shared_turn};

pub fn run(command: &mut Command) -> Ended {
    let _turn = shared_turn();
    crate::common::run(command)
}

/// A run of `blocks` in which wireguard carries `factor` of what the wire does.
pub struct Results {
    pub run: Value,
    pub cells: Vec<Value>,
}

impl Results {
    pub fn new(id: &str, blocks: u32, factor: f64) -> Self {
        let module =
            |name: &str| json!({"name": name, "title": name, "version": "1.0", "choices": []});
        let run = json!({
            "format": 1, "id": id, "started": "2026-11-23T07:12:18Z", "command": ["bench"],
            "seed": 1, "blocks": blocks, "workloads": ["tcp"], "quick": false,
            "environment": {
                "accelerator": "tcg", "accelerator_reason": "x", "qemu_version": "10.0.3",
                "host_kernel": "6.12", "host_cpu": "Example CPU", "host_cores": 2,
                "host_memory_bytes": 1, "clock_source": null, "load_average": [0, 0, 0],
                "harness_version": "0.1.0", "harness_revision": null
            },
            "guests": [],
            "scenarios": [{"name": "lan", "title": "LAN", "links": [], "nats": []}],
            "modules": [module("internal"), module("wireguard")],
        });
        let mut cells = Vec::new();
        for block in 1..=blocks {
            for (name, factor) in [("internal", 1.0), ("wireguard", factor)] {
                let value = 5e7 * factor * (1.0 + f64::from(block % 3) / 1000.0);
                cells.push(json!({
                    "format": 1, "started": "2026-11-23T07:15:00Z", "duration_seconds": 1,
                    "key": {"block": block, "scenario": "lan", "module": name, "workload": "tcp"},
                    "outcome": {"status": "ok"},
                    "metrics": [{"name": "goodput-forward", "unit": "bit/s", "better": "higher",
                                 "value": value, "samples": []}],
                    "path": "direct", "inner_mtu": 1420, "underlay": "ipv4", "links": []
                }));
            }
        }
        Self { run, cells }
    }

    pub fn fail_wireguard(mut self) -> Self {
        for cell in self.cells.iter_mut().filter(|cell| cell["key"]["module"] == "wireguard") {
            cell["metrics"] = json!([]);
            cell["outcome"] = json!({"status": "failed", "stage": "connect", "machine": "bob",
                                     "reason": "no answer", "evidence": []});
        }
        self
    }

    pub fn write(&self, dir: &Path) -> String {
        let dir = dir.join(self.run["id"].as_str().unwrap());
        fs::create_dir_all(dir.join("cells")).unwrap();
        fs::write(dir.join("run.json"), self.run.to_string()).unwrap();
        for cell in &self.cells {
            let key = &cell["key"];
            let name = format!("{}_lan_{}_tcp.json", key["block"], key["module"].as_str().unwrap());
            fs::write(dir.join("cells").join(name), cell.to_string()).unwrap();
        }
        dir.to_string_lossy().into_owned()
    }
}
