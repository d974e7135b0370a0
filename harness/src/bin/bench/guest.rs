//! `bench guest`.

use harness::module::spec::{INTERNAL, Module};
use harness::results::exit;

use crate::args::ImageArgs;
use crate::error::{Failure, Outcome};
use crate::workspace::Workspace;

/// Makes what the cache lacks, and prints where the images are.
pub async fn guest(workspace: &Workspace, arguments: &ImageArgs) -> Outcome {
    let modules = arguments.modules.iter().map(|name| workspace.module(name));
    let modules: Vec<Module> = modules.collect::<Result<_, _>>()?;
    let lab = crate::lab::open(workspace, &modules, &arguments.guests).await?;
    for module in &modules {
        let missing = || Failure::setup(format!("there is no guest with {}", module.name));
        let images = lab.images(&module.name).ok_or_else(missing)?;
        // `--guest internal=…` is what gateways run on, too.
        let image = if module.name == INTERNAL { &images.fabric } else { &images.member };
        crate::run::print(&format!("{}={}\n", module.name, image.dir.display()))?;
    }
    Ok(exit::OK)
}
