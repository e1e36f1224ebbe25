//! Words and columns that several reports share, 80 columns wide.
//!
//! Guarantees: text from FirstPromoter, a target or a person reaches the terminal only as [`foreign::line`] returns it, and
//! never at the beginning of a line where ours could begin. A line is wider than 80 columns only where a single word is (a
//! path, an email).

use super::ink::Ink;
use crate::{
    domain::Timestamp,
    foreign,
    ledger::{Attention, AttentionGroup},
    reconcile::Line,
};

const WIDTH: usize = 80;

/// How much deeper the following lines of a text are indented.
const HANGING: usize = 4;

/// The column of the state in a reward's line. Details below it begin in the same column.
const DETAILS: usize = 13;

/// The narrowest width of a recipient, where the target beside it needs room.
const RECIPIENT_MIN: usize = 16;

/// The widest name of a target in a reward's line.
const TARGET_MAX: usize = 14;

/// Cuts to `width` characters. `…` shows that something was cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    foreign::cut(&foreign::line(text), width)
}

/// The words of a text. Text in backquotes is one word if it fits on a line, so that it can be copied.
fn words(text: &str, room: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = text.split_whitespace();
    while let Some(word) = rest.next() {
        let mut whole = word.to_owned();
        if word.matches('`').count() % 2 == 1 {
            let mut ahead = rest.clone();
            for next in ahead.by_ref() {
                whole = format!("{whole} {next}");
                if next.contains('`') {
                    break;
                }
            }
            if whole.chars().count() <= room && whole.matches('`').count() % 2 == 0 {
                rest = ahead;
            } else {
                word.clone_into(&mut whole);
            }
        }
        words.push(whole);
    }
    words
}

/// Breaks at spaces so that no line is wider than 80 columns. The first line is indented by `indent`, the others deeper: where
/// a line of ours could begin, no text of others does, however long it is.
pub(super) fn wrapped(text: &str, indent: usize) -> String {
    broken(text, indent, indent + HANGING)
}

/// Like [`wrapped`], for text that is all ours: indents every line alike.
pub(super) fn paragraph(text: &str, indent: usize) -> String {
    broken(text, indent, indent)
}

fn broken(text: &str, first: usize, hanging: usize) -> String {
    let (mut out, mut indent) = (String::new(), first);
    let mut column = WIDTH;
    for word in words(&foreign::line(text), WIDTH.saturating_sub(hanging)) {
        let length = word.chars().count();
        if column + 1 + length > WIDTH {
            if !out.is_empty() {
                out.push('\n');
                indent = hanging;
            }
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(&word);
        column += length;
    }
    out.push('\n');
    out
}

/// `label` at two columns, and `text` wrapped in the columns after it.
pub(super) fn labelled(label: &str, text: &str) -> String {
    let wrapped = wrapped(text, 14);
    format!("  {label:<12}{}", wrapped.trim_start())
}

/// A time of the ledger for a person: `2025-01-19T10:30:00Z`, one word. Any other text is shown as it is.
pub(super) fn when(text: &str) -> String {
    text.parse::<Timestamp>().map_or_else(|_| text.to_owned(), at)
}

/// The same.
pub(super) fn at(at: Timestamp) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `1 reward`, `2 rewards`.
pub(super) fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// `500 points`; unknown parts are left out.
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

/// One reward on one line of at most 80 columns. The recipient is shortened before the target beside it.
pub(super) fn reward_line(
    ink: Ink,
    id: i64,
    state: &str,
    amount: &str,
    recipient: &str,
    target: Option<&str>,
) -> String {
    let before = format!("  {id:>9}  ");
    let state_shown = format!("{state:<10}");
    let amount = format!("  {:<18}  ", cut(amount, 18));
    let target = target.map(|target| format!("  {}", cut(target, TARGET_MAX))).unwrap_or_default();
    let used = [&before, &state_shown, &amount].iter().map(|part| part.chars().count()).sum::<usize>();
    let room = WIDTH.saturating_sub(used + target.chars().count()).max(RECIPIENT_MIN);
    let after = format!("{amount}{}{target}", cut(recipient, room));
    format!("{before}{}{}\n", ink.word(state, &state_shown), after.trim_end())
}

/// A reward that moved or needs somebody, with its reason below it.
pub(super) fn report_line(ink: Ink, line: &Line) -> String {
    let mut out = reward_line(
        ink,
        line.commission_id.0,
        line.state.as_str(),
        &amount(line.amount, line.unit.as_deref()),
        &recipient(line.recipient.as_deref(), line.recipient_email.as_deref()),
        line.target.as_deref(),
    );
    match (&line.attention, &line.reason, &line.detail) {
        (Some(attention), _, _) => out.push_str(&attention_text(attention)),
        (None, Some(reason), Some(detail)) => out.push_str(&detail_text(&format!("{reason}; {detail}"))),
        (None, Some(text), None) | (None, None, Some(text)) => out.push_str(&detail_text(text)),
        (None, None, None) => {}
    }
    out
}

/// The details of the reward in the line above.
pub(super) fn detail_text(text: &str) -> String {
    wrapped(text, DETAILS)
}

/// Why a reward stands in `attention`, and what to do.
pub(super) fn attention_text(attention: &Attention) -> String {
    let mut out = String::new();
    let detail = attention.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    out.push_str(&detail_text(&format!("{}{detail}", attention.reason)));
    out.push_str(&detail_text(&format!("-> {}", attention.what_to_do)));
    out
}

/// Many rewards with the same reason: how many, the oldest, what to do once, and where all are. Nothing where there are none.
pub(super) fn groups(ink: Ink, groups: &[AttentionGroup]) -> String {
    let mut out = String::new();
    for group in groups {
        let at = group.target.as_deref().map(|target| format!(" at {target}")).unwrap_or_default();
        let since = group.examples.first().map(|oldest| format!(", since {}", when(&oldest.since))).unwrap_or_default();
        out.push('\n');
        out.push_str(&wrapped(
            &format!("{} {}{at}: {}{since}. The oldest:", group.count, group.state, group.reason),
            2,
        ));
        for it in &group.examples {
            out.push_str(&attention_line(ink, it));
        }
        if let Some(oldest) = group.examples.first() {
            out.push_str(&attention_text(oldest));
        }
    }
    if !groups.is_empty() {
        out.push_str("\nEvery one: `makegood status --json`, or the view `attention` of the ledger\n");
    }
    out
}

/// One reward that needs a person, on one line.
pub(super) fn attention_line(ink: Ink, it: &Attention) -> String {
    let recipient = recipient(it.recipient.as_deref(), it.recipient_email.as_deref());
    reward_line(ink, it.commission_id.0, &it.state, &amount(it.amount, it.unit.as_deref()), &recipient, None)
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
        assert!(labelled("label", &text).lines().all(|line| line.chars().count() <= 80));
        let email = "x".repeat(100);
        for target in [None, Some("app"), Some("a-target-with-a-name-of-sixty-four-characters-or-nearly-as-many")] {
            let line = reward_line(Ink::PLAIN, 123_456_789_012, "delivering", &"9".repeat(40), &email, target);
            assert!(line.trim_end().chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn a_long_email_leaves_the_target_in_sight() {
        let line = reward_line(Ink::PLAIN, 88_901, "held", "500 points", &"x".repeat(100), Some("app"));
        assert!(line.ends_with("…  app\n"), "{line}");
    }

    #[test]
    fn colour_moves_no_column() {
        let [plain, coloured] =
            [Ink::PLAIN, Ink::COLOURED].map(|ink| reward_line(ink, 7, "held", "500 points", &"x".repeat(100), None));
        assert_eq!(coloured.replace("\u{1b}[33m", "").replace("\u{1b}[0m", ""), plain);
        assert_ne!(coloured, plain);
    }

    #[test]
    fn text_of_others_cannot_control_the_terminal() {
        let nasty = "a\u{1b}[2Jb\u{7}\u{9b}31mc\r\nd";
        let line = reward_line(Ink::PLAIN, 7, "held", nasty, nasty, Some(nasty));
        for text in [wrapped(nasty, 4), cut(nasty, 80), cut(nasty, 5), line] {
            assert!(!text.trim_end_matches('\n').contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn times_and_counts_are_for_people() {
        assert_eq!(when("2025-01-19T10:30:00.123Z"), "2025-01-19T10:30:00Z");
        assert_eq!(when("2025-01-19T12:30:00+02:00"), "2025-01-19T10:30:00Z");
        assert_eq!(when("soon"), "soon");
        assert_eq!((counted(1, "pass"), counted(0, "reward")), ("1 pass".to_owned(), "0 rewards".to_owned()));
    }

    #[test]
    fn a_command_in_backquotes_is_not_broken_where_it_fits() {
        let filler = "x".repeat(66);
        assert_eq!(
            wrapped(&format!("{filler} `makegood show 7`, then"), 2),
            format!("  {filler}\n      `makegood show 7`, then\n")
        );
        assert_eq!(wrapped(&format!("{filler} `a b`"), 2), format!("  {filler} `a b`\n"));
        let long = format!("`{}`", "word ".repeat(30));
        assert!(wrapped(&long, 2).lines().all(|line| line.chars().count() <= 80));
        assert_eq!(wrapped("a ` b c", 0), "a ` b c\n", "a single one means nothing");
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
