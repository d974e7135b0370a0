//! The list of files that the pages are made of.

use askama::Template;

use super::Frame;
use crate::downloads::File;

#[derive(Template)]
#[template(path = "downloads.html")]
struct Page<'a> {
    frame: Frame,
    files: &'a [File],
}

/// Renders it.
///
/// # Errors
/// None that content could cause.
pub(crate) fn downloads(files: &[File]) -> Result<String, askama::Error> {
    Page { frame: Frame::new("Downloads", "", 0), files }.render()
}
