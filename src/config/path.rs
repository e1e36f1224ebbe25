//! Paths of the configuration.

use std::path::PathBuf;

/// Reads a path. A relative one is relative to the working directory. The error says what is wrong and what to do.
pub(super) fn parse(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("this is no path: write one, or take the key out".to_owned());
    }
    Ok(PathBuf::from(text))
}
