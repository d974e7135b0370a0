//! `bench guest`.

use std::sync::Arc;

use crate::exit;
use meshbench::module::spec::{INTERNAL, Module};
use meshbench::run::Events;

use crate::args::ImageArgs;
use crate::error::Outcome;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// Makes what the cache lacks, and prints where the images are.
pub async fn guest(workspace: &Workspace, arguments: &ImageArgs) -> Outcome {
    let modules = arguments.modules.iter().map(|name| workspace.module(name));
    let modules: Vec<Arc<Module>> = modules.collect::<Result<_, _>>()?;
    let events = Events::default().with(Progress::new());
    let lab = crate::lab::prepared(workspace, &modules, &arguments.guests, &events).await?;
    for module in &modules {
        let images = lab.images(module).await.map_err(crate::lab::failure)?;
        // `--guest internal=…` is what gateways run on, too.
        let image = if module.name == INTERNAL { &images.fabric } else { &images.member };
        crate::output::print(&format!("{}={}\n", module.name, image.dir.display()))?;
    }
    Ok(exit::OK)
}
