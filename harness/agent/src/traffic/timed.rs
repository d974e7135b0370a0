//! How long a program takes, by the machine's monotonic clock.

use std::io;
use std::process::Command;
use std::time::Instant;

use serde_json::json;

/// Runs a program, which says what it has to say; prints the seconds that it took. It must exit with 0.
pub(super) fn run(argv: &[&str]) -> io::Result<()> {
    let (program, arguments) =
        argv.split_first().ok_or_else(|| io::Error::other("no program to run"))?;
    let start = Instant::now();
    let status = Command::new(program).args(arguments).status();
    let seconds = start.elapsed().as_secs_f64();
    let status =
        status.map_err(|why| io::Error::new(why.kind(), format!("cannot run {program}: {why}")))?;
    if !status.success() {
        return Err(io::Error::other(format!("{program}: {status}")));
    }
    println!("{}", json!({ "seconds": seconds }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_has_no_time() {
        run(&["true"]).unwrap();
        assert_eq!(run(&["false"]).unwrap_err().to_string(), "false: exit status: 1");
        let missing = run(&["no-such-program"]).unwrap_err().to_string();
        assert!(missing.starts_with("cannot run no-such-program: "), "{missing}");
        assert!(run(&[]).is_err());
    }
}
