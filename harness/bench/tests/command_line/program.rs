//! The `bench` program as these tests call it.

use std::process::{Command, Stdio};

use crate::common::{cache, root};

/// `bench` with these arguments, on the shared cache.
pub fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(arguments).env("MESHBENCH_CACHE", cache()).env("MESHBENCH_ROOT", root());
    command.env_remove("NO_COLOR").stdin(Stdio::null());
    command
}
