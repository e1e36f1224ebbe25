//! Durations as people write them: `"90s"`, `"15m"`, `"2h"`, `"7d"`, `"500ms"`.

use std::time::Duration;

/// The longest duration that is allowed, ten years: adding one to a time never overflows.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// What to write.
pub(super) const REMEDY: &str = r#"write it with its unit, as "500ms", "90s", "15m", "2h" or "7d""#;

/// Reads a duration. The error says what is wrong and what to do, without the text.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    // humantime accepts a bare 0 and refuses every other bare number. We refuse all of them, with one message.
    if text.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("a duration needs its unit: {REMEDY}"));
    }
    let duration = humantime::parse_duration(text).map_err(|_| format!("this is no duration: {REMEDY}"))?;
    if duration > LONGEST {
        return Err("this is longer than ten years: write a shorter duration".to_owned());
    }
    Ok(duration)
}
