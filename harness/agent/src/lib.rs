//! The program `meshbench-agent` runs inside every meshbench machine; this library only says where its source is.

/// The folder of this package, for build scripts that make the static program for guests.
pub const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
