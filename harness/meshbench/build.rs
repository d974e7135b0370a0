//! Builds the agent as a static program for the guests, to be carried inside the library.
//!
//! `MESHBENCH_AGENT` names a finished one instead, for builds that package it separately.

fn main() {
    // The compiler is not told of files that are new in a folder which the library carries.
    println!("cargo::rerun-if-changed=shipped");
    #[cfg(feature = "bundled-agent")]
    {
        let agent = meshbench_agent::Program {
            name: "meshbench-agent",
            source: meshbench_agent::SOURCE,
            features: &["program"],
            optimisation: 3,
            siblings: &[("meshbench-protocol", meshbench_protocol::SOURCE)],
        };
        let agent = agent.build_unless_named("MESHBENCH_AGENT");
        println!("cargo::rustc-env=MESHBENCH_AGENT_BINARY={}", agent.display());
    }
}
