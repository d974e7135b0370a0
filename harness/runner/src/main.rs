//! Measures inside a sealed machine.

fn main() -> std::process::ExitCode {
    meshbench::inside()
}
