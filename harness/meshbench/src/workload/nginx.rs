//! nginx, out of one folder in memory and as root: a guest's packages are unpacked, and make no users.

use super::WorkloadError;
use super::tool::{self, command};
use crate::machine::{Machine, Running};

/// What it says once it listens and there is somebody to answer.
const READY: &str = "start worker process ";

/// Starts it with this server, a block of its configuration.
pub(super) async fn serve(
    machine: &Machine,
    folder: &str,
    server: &str,
) -> Result<Running, WorkloadError> {
    let path = format!("{folder}/nginx.conf");
    machine.write_file(&path, 0o644, configuration(folder, server).as_bytes()).await?;
    let argv = ["nginx", "-e", "stderr", "-p", folder, "-c", &path];
    tool::serve(machine, command(&argv), READY).await
}

fn configuration(folder: &str, server: &str) -> String {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let places = kinds.map(|kind| format!("{kind}_temp_path {folder}/nginx-{kind};"));
    format!(
        "user root; daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr notice;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; default_type application/octet-stream; {}\n{server}\n}}\n",
        places.join(" ")
    )
}
