//! Builds the runner as a static program for sealed machines, to be carried by this package.
//!
//! `MESHBENCH_RUNNER` names a finished one instead, for builds that package it separately.

fn main() {
    #[cfg(feature = "bundled")]
    {
        let protocol = meshbench_protocol::SOURCE;
        let (library, agent) = (library(), meshbench_agent::SOURCE);
        let runner = meshbench_agent::Program {
            name: "meshbench-runner",
            source: env!("CARGO_MANIFEST_DIR"),
            features: &["program"],
            optimisation: 1,
            siblings: &[
                ("meshbench", &library),
                ("meshbench-agent", agent),
                ("meshbench-protocol", protocol),
            ],
        };
        let runner = runner.build_unless_named("MESHBENCH_RUNNER");
        println!("cargo::rustc-env=MESHBENCH_RUNNER_BINARY={}", runner.display());
    }
}

/// The folder of the library: beside this one, in a checkout and in a registry.
#[cfg(feature = "bundled")]
fn library() -> String {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let version = env!("CARGO_PKG_VERSION");
    let names = ["meshbench".to_owned(), format!("meshbench-{version}")];
    let mut places = names.iter().map(|name| own.with_file_name(name));
    places.find(|place| place.exists()).unwrap_or_default().to_string_lossy().into_owned()
}
