//! Paths of the configuration.

use std::path::PathBuf;

use super::error::Complaint;

/// Reads a path. A relative one is relative to the working directory. The error says what is wrong and what to do.
pub(super) fn parse(text: &str) -> Result<PathBuf, Complaint> {
    if text.is_empty() || text.contains('\0') {
        return Err(Complaint::new("this is no path", "write one, or take the key out"));
    }
    Ok(PathBuf::from(text))
}
