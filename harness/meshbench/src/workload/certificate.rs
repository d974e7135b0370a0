//! A server's certificate for its overlay address, made on its member.

use std::net::IpAddr;

use super::WorkloadError;
use super::tool::command;
use crate::cluster::Member;
use crate::machine::PROMPT;

/// The files' names, beside each other.
pub(super) const CERTIFICATE: &str = "certificate.pem";
pub(super) const KEY: &str = "key.pem";

/// Valid whatever the date of a machine is.
const FROM: &str = "20200101000000Z";
const UNTIL: &str = "20491231235959Z";

/// Makes a key and its certificate in a folder of the server's, and gives the client the certificate in one of the
/// same name. Of Ed25519, whose keys and signatures are always of the same length.
pub(super) async fn make(
    server: &Member,
    client: &Member,
    folder: &str,
    address: IpAddr,
) -> Result<(), WorkloadError> {
    let (key, certificate) = (format!("{folder}/{KEY}"), format!("{folder}/{CERTIFICATE}"));
    let name = format!("subjectAltName=IP:{address}");
    let mut argv = vec!["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes"];
    argv.extend(["-keyout", &key, "-out", &certificate, "-set_serial", "1"]);
    argv.extend(["-not_before", FROM, "-not_after", UNTIL, "-subj", "/CN=meshbench"]);
    argv.extend(["-addext", &name, "-addext", "basicConstraints=critical,CA:FALSE"]);
    server.machine.exec(command(&argv), None, PROMPT).await?;
    let made = server.machine.read_file(&certificate).await?;
    Ok(client.machine.write_file(&certificate, 0o644, &made).await?)
}
