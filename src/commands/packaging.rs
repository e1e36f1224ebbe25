//! `makegood completions` and `makegood man`, for packages. Made from the command line's definition.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Exit, Failure, print};
use crate::{cli::Cli, manual};

/// The completion script of a shell, on stdout.
pub(super) fn completions(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "makegood", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// The man pages: one for each command and each topic of the manual into `folder` (created where needed), or the main page on
/// stdout.
pub(super) fn man(folder: Option<&Path>) -> Result<Exit, Failure> {
    let Some(folder) = folder else {
        print(&main_page().context("the manual could not be made")?)?;
        return Ok(Exit::Done);
    };
    let pages = write_pages(folder).with_context(|| {
        format!("the manual could not be written to {}: name a folder that this user may write", folder.display())
    })?;
    let names: Vec<String> = pages.iter().map(|page| page.display().to_string()).collect();
    print(&format!("{}\n", names.join("\n")))?;
    Ok(Exit::Done)
}

/// makegood(1): clap's part, then the manual's part on operation.
fn main_page() -> io::Result<String> {
    let mut page = Vec::new();
    let man = Man::new(Cli::command());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    Ok(format!("{}{}", String::from_utf8_lossy(&page), manual::operation_sections()))
}

fn write_pages(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)?;
    fs::write(folder.join("makegood.1"), main_page()?)?;
    for (name, page) in manual::pages() {
        fs::write(folder.join(name), page)?;
    }
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("makegood") && [".1", ".5", ".7"].iter().any(|section| name.ends_with(section)) {
            pages.push(path);
        }
    }
    pages.sort();
    Ok(pages)
}
