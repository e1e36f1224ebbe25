//! Words and columns that several reports share; 80 columns wide.

use crate::{ledger::Attention, reconcile::Line};

const WIDTH: usize = 80;

/// Cuts to `width` characters, with `…` where something was cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Breaks at spaces so that no line is wider than 80 columns, each indented by `indent`.
pub(super) fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = WIDTH;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column + 1 + length > WIDTH {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

/// `500 points`; what is not known is left out.
pub(super) fn amount(amount: Option<i64>, unit: Option<&str>) -> String {
    match (amount, unit) {
        (Some(amount), Some(unit)) => format!("{amount} {unit}"),
        (None, Some(unit)) => format!("? {unit}"),
        (Some(amount), None) => amount.to_string(),
        (None, None) => "?".to_owned(),
    }
}

/// `promoter pat@example.com`.
pub(super) fn recipient(kind: Option<&str>, email: Option<&str>) -> String {
    match (kind, email) {
        (Some(kind), Some(email)) => format!("{kind} {email}"),
        (Some(kind), None) => kind.to_owned(),
        (None, _) => "-".to_owned(),
    }
}

/// One reward on one line of at most 80 columns.
pub(super) fn reward_line(id: i64, state: &str, amount: &str, recipient: &str, target: Option<&str>) -> String {
    let target = target.map(|target| format!("  {target}")).unwrap_or_default();
    let line = format!("  {id:>9}  {state:<10}  {:<18}  {recipient}{target}", cut(amount, 18));
    format!("{}\n", cut(line.trim_end(), WIDTH))
}

/// A reward that moved or needs somebody, with its reason below it.
pub(super) fn report_line(line: &Line, attention: Option<&Attention>) -> String {
    let mut out = reward_line(
        line.commission_id.0,
        &line.state,
        &amount(line.amount, line.unit.as_deref()),
        &recipient(line.recipient.as_deref(), line.recipient_email.as_deref()),
        line.target.as_deref(),
    );
    match (attention, &line.reason, &line.detail) {
        (Some(attention), _, _) => out.push_str(&attention_text(attention)),
        (None, Some(reason), Some(detail)) => out.push_str(&wrapped(&format!("{reason}; {detail}"), 13)),
        (None, Some(text), None) | (None, None, Some(text)) => out.push_str(&wrapped(text, 13)),
        (None, None, None) => {}
    }
    out
}

/// Why a reward stands in `attention`, and what to do.
pub(super) fn attention_text(attention: &Attention) -> String {
    let mut out = String::new();
    let detail = attention.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    out.push_str(&wrapped(&format!("{}{detail}", attention.reason), 13));
    out.push_str(&wrapped(&format!("-> {}", attention.what_to_do), 13));
    out
}

/// `1 reward needs`, `2 rewards need`, ...
pub(super) fn needs(count: u64) -> String {
    match count {
        0 => "Nothing needs a person.".to_owned(),
        1 => "1 reward needs a person.".to_owned(),
        more => format!("{more} rewards need a person."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_eighty_columns() {
        let text = "word ".repeat(60);
        assert!(wrapped(&text, 13).lines().all(|line| line.chars().count() <= 80));
        let line = reward_line(123_456_789_012, "delivering", &"9".repeat(40), &"x".repeat(100), Some("app"));
        assert!(line.trim_end().chars().count() <= 80, "{line}");
    }

    #[test]
    fn a_word_wider_than_the_screen_is_kept_whole() {
        let word = "x".repeat(120);
        assert!(wrapped(&format!("a {word} b"), 4).contains(&word));
    }

    #[test]
    fn cutting_counts_characters_not_bytes() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
