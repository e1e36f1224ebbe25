//! Durations as people write them: `"90s"`, `"15m"`, `"2h"`, `"7d"`, `"500ms"`.

use std::time::Duration;

/// The longest duration there is here, ten years: adding one to a time can then never overflow.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// What to write.
pub(super) const REMEDY: &str = r#"write it with its unit, as "500ms", "90s", "15m", "2h" or "7d""#;

/// Reads a duration; the error is what is wrong and the remedy, without the text.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    // humantime lets a bare 0 pass; every other bare number it refuses, and so do we, with one voice.
    if text.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("a duration needs its unit: {REMEDY}"));
    }
    let duration = humantime::parse_duration(text).map_err(|_| format!("this is no duration: {REMEDY}"))?;
    if duration > LONGEST {
        return Err("this is longer than ten years: write a shorter duration".to_owned());
    }
    Ok(duration)
}
