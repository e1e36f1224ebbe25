//! Durations as people write them: `"90s"`, `"15m"`, `"2h"`, `"7d"`, `"500ms"`.

use std::time::Duration;

use super::error::Complaint;

/// The longest duration that is allowed, ten years: adding one to a time never overflows.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// What to write.
const REMEDY: &str = r#"write it with its unit, as "500ms", "90s", "15m", "2h" or "7d""#;

/// A number alone is no duration.
pub(super) fn without_unit() -> Complaint {
    Complaint::new("a duration needs its unit", REMEDY)
}

/// Reads a duration. The error says what is wrong and what to do, without the text.
pub(super) fn parse(text: &str) -> Result<Duration, Complaint> {
    let text = text.trim();
    // humantime accepts a bare 0 and refuses every other bare number. We refuse all of them, with one message.
    if text.chars().all(|c| c.is_ascii_digit()) {
        return Err(without_unit());
    }
    let duration = humantime::parse_duration(text).map_err(|_| Complaint::new("this is no duration", REMEDY))?;
    if duration > LONGEST {
        return Err(Complaint::new("this is longer than ten years", "write a shorter duration"));
    }
    Ok(duration)
}
